//! The options of a model that a file holds: the same for every command that takes one.

use super::Failure;
use crate::message;
use crate::message::Setting;
use crate::model::{FileRequest, is_model_file};
use std::path::Path;
use vitc_ir::Dim;

/// What a file leaves open.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// Sizes that an ONNX file leaves open: of an input, of its only input, or of a symbol of the file; `B` in front keeps the batch open.
    /// Repeatable.
    #[arg(long, value_name = "[NAME=]1x3x640x640", value_parser = shape, help_heading = "Model file")]
    shape: Vec<Shape>,

    /// Cut an ONNX file there: these values of the file become the outputs, in this order.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Model file")]
    outputs: Vec<String>,
}

/// Sizes, and of what.
type Shape = (Option<String>, Vec<Option<usize>>);

/// `x=1x3x640x640`, `Bx3x640x640`, `height=640`.
fn shape(text: &str) -> Result<Shape, String> {
    let (name, sizes) = match text.rsplit_once('=') {
        Some((name, sizes)) if !name.is_empty() => (Some(name.to_string()), sizes),
        Some(_) => return Err("expected a name before `=`".into()),
        None => (None, text),
    };
    let size = |(i, s): (usize, &str)| match s.parse::<usize>() {
        Ok(n) if (1..1 << 31).contains(&n) => Ok(Some(n)),
        _ if s == "B" && i == 0 => Ok(None),
        _ => Err("expected sizes with `x` between them, such as 1x3x640x640, or Bx3x640x640".to_string()),
    };
    Ok((name, sizes.split('x').enumerate().map(size).collect::<Result<_, _>>()?))
}

impl FileArgs {
    /// The file that `model` is, if it is one. `foreign` is a setting that belongs to models by name, if one was given.
    ///
    /// # Errors
    /// If flags are given that do not belong together.
    pub(super) fn request(
        &self,
        model: Option<&str>,
        batch: Option<Dim>,
        foreign: Option<Setting>,
    ) -> Result<Option<FileRequest>, Failure> {
        let path = model.map(Path::new).filter(|path| is_model_file(path));
        let Some(path) = path else {
            let given = [(!self.shape.is_empty(), Setting::Shape), (!self.outputs.is_empty(), Setting::Outputs)];
            return match given.into_iter().find(|(given, _)| *given) {
                Some((_, setting)) => {
                    Err(Failure::usage(message!(setting, " is for a model file: name an .onnx file, or leave it out")))
                }
                None => Ok(None),
            };
        };
        if let Some(setting) = foreign {
            let what =
                format!(" belongs to a model by name; {} brings its own weights\n  leave it out", path.display());
            return Err(Failure::usage(message!(setting, what)));
        }
        Ok(Some(FileRequest {
            path: path.to_path_buf(),
            batch,
            shapes: self.shape.clone(),
            outputs: self.outputs.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn shapes_name_an_input_or_none() {
        let sizes = |batch| vec![batch, Some(3), Some(640), Some(480)];
        assert_eq!(shape("1x3x640x480"), Ok((None, sizes(Some(1)))));
        assert_eq!(shape("images=Bx3x640x480"), Ok((Some("images".into()), sizes(None))));
        assert_eq!(shape("a=b=7"), Ok((Some("a=b".into()), vec![Some(7)])));
        for wrong in ["", "x", "1xBx3", "a=", "=3", "0x3", "1x-1", "99999999999"] {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
    }
}
