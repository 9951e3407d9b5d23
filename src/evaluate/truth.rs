//! Which pictures there are, and what each shows.

use super::error::EvaluateError;
use super::list;
use std::path::{Path, PathBuf};

/// Where pictures and what they show come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder of one folder a class.
    Folders(PathBuf),
    /// A folder, and a file that gives path and class a line.
    List {
        /// The folder that paths are relative to.
        folder: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// A folder of pictures and one of PNG files of class indices, under the same names.
    Masks {
        /// The pictures.
        pictures: PathBuf,
        /// The masks.
        masks: PathBuf,
        /// 0 is no class, and 1 the first.
        zero_ignored: bool,
    },
    /// A folder of pictures of which nothing is known.
    Unknown(PathBuf),
}

/// What a picture shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// This class.
    Class(usize),
    /// A class for each pixel, in this file.
    Mask(PathBuf),
    /// Nothing is known.
    Unknown,
}

/// A picture and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The picture.
    pub picture: PathBuf,
    /// What it shows.
    pub shown: Shown,
}

/// The pictures, and what to know about how they were understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// In the order of their names.
    pub cases: Vec<Case>,
    /// What was assumed.
    pub notices: Vec<String>,
}

impl Truth {
    /// Read from a source, for an artifact of so many classes with these names.
    ///
    /// # Errors
    /// If there are no pictures, or what they show does not fit the classes.
    pub fn read(source: &Source, classes: usize, labels: Option<&[String]>) -> Result<Truth, EvaluateError> {
        match source {
            Source::Folders(folder) => folders(folder, classes, labels),
            Source::List { folder, file } => {
                Ok(Truth { cases: list::read(folder, file, classes, labels)?, notices: Vec::new() })
            }
            Source::Masks { pictures, masks, .. } => {
                let case = |picture: PathBuf| {
                    let inside = picture.strip_prefix(pictures).unwrap_or(&picture);
                    let mask = masks.join(inside).with_extension("png");
                    match mask.is_file() {
                        true => Ok(Case { shown: Shown::Mask(mask), picture }),
                        false => Err(EvaluateError::NoMask { picture, mask }),
                    }
                };
                let cases = all(pictures)?.into_iter().map(case).collect::<Result<_, _>>()?;
                Ok(Truth { cases, notices: Vec::new() })
            }
            Source::Unknown(folder) => {
                let cases = all(folder)?.into_iter().map(|picture| Case { picture, shown: Shown::Unknown }).collect();
                Ok(Truth { cases, notices: Vec::new() })
            }
        }
    }
}

/// Folders are classes: by name where they are called as the classes are, else in the order of their names.
fn folders(folder: &Path, classes: usize, labels: Option<&[String]>) -> Result<Truth, EvaluateError> {
    let mut named: Vec<(String, PathBuf, Vec<PathBuf>)> = Vec::new();
    for path in entries(folder)?.into_iter().filter(|p| p.is_dir()) {
        let mut pictures = Vec::new();
        walk(&path, &mut pictures)?;
        if !pictures.is_empty() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            named.push((name, path, pictures));
        }
    }
    if named.is_empty() {
        return Err(EvaluateError::NoClassFolders(folder.into()));
    }
    named.sort();
    let of = |name: &str| labels.and_then(|labels| labels.iter().position(|l| l == name));
    let known = named.iter().filter(|(name, ..)| of(name).is_some()).count();
    let fail = |path: &Path, what: String| Err(EvaluateError::Classes { path: path.into(), what });
    if known > 0
        && let Some((name, path, _)) = named.iter().find(|(name, ..)| of(name).is_none())
    {
        return fail(
            path,
            format!("{known} folders are named as classes of the artifact are, and {name} is none of them"),
        );
    }
    if known == 0 && named.len() > classes {
        return fail(folder, format!("holds {} class folders, and the artifact has {classes} classes", named.len()));
    }
    let mut notices = Vec::new();
    if known == 0 {
        notices.extend(ordered(&named.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), classes));
    }
    let mut cases = Vec::new();
    for (index, (name, _, pictures)) in named.into_iter().enumerate() {
        let shown = Shown::Class(of(&name).unwrap_or(index));
        cases.extend(pictures.into_iter().map(|picture| Case { picture, shown: shown.clone() }));
    }
    Ok(Truth { cases, notices })
}

/// What to know about folders that are classes in the order of their names.
fn ordered(names: &[&str], classes: usize) -> Vec<String> {
    let mut notices = Vec::new();
    if names.len() < classes {
        let last = names.len() - 1;
        notices.push(format!("{} folders are taken for the classes 0 to {last} of {classes}", names.len()));
    }
    let numbers: Option<Vec<usize>> = names.iter().map(|name| name.parse().ok()).collect();
    let odd = numbers.and_then(|n| n.iter().enumerate().position(|(index, number)| index != *number));
    if let Some(index) = odd {
        let name = names[index];
        notices.push(format!("folders are classes in the order of their names as text, so {name} is class {index}"));
    }
    notices
}

/// Every picture below a folder, in the order of the names.
fn all(folder: &Path) -> Result<Vec<PathBuf>, EvaluateError> {
    let mut pictures = Vec::new();
    walk(folder, &mut pictures)?;
    if pictures.is_empty() { Err(EvaluateError::NoPictures(folder.into())) } else { Ok(pictures) }
}

fn walk(folder: &Path, pictures: &mut Vec<PathBuf>) -> Result<(), EvaluateError> {
    for path in entries(folder)? {
        let suffix = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        // A link to a folder may lead round in a circle.
        if path.is_dir() && !path.is_symlink() {
            walk(&path, pictures)?;
        } else if ["png", "jpg", "jpeg"].contains(&suffix.as_str()) && path.is_file() {
            pictures.push(path);
        }
    }
    Ok(())
}

/// What lies in a folder, hidden files apart, in the order of the names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, EvaluateError> {
    let fail = |source| EvaluateError::Io { path: folder.into(), source };
    let entries = std::fs::read_dir(folder).map_err(fail)?.map(|entry| entry.map(|e| e.path()));
    let mut paths = entries.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    paths.retain(|path| !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.'));
    paths.sort();
    Ok(paths)
}
