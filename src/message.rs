//! Messages that name settings without knowing how a user writes them.
//!
//! The library answers programs too: what a command line calls `--resolution 224x224` another caller calls `resolution=224x224`. So a [`Message`] is
//! text and data, and whoever shows it says how a [`Part`] that is data is written. Its own `Display` is neutral.
//!
//! Invariant: no file outside `cli` writes a flag into a text; a test in this file looks.

use std::fmt;

/// What a user can decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting {
    /// The class of every pixel for its scores.
    Argmax,
    /// Spelling of attention.
    Attention,
    /// Images per run.
    Batch,
    /// Channels of the input.
    Channels,
    /// Blue, green and red for red, green and blue.
    Bgr,
    /// Whether the artifact is run and compared before it takes its place.
    Check,
    /// A family's choice, `name=value`.
    Choice,
    /// Number of classes.
    Classes,
    /// Boxes for offsets from anchors.
    Decode,
    /// The averaged copy of the weights, or the raw ones beside it.
    Ema,
    /// Values from outside that the artifact must reproduce.
    Expect,
    /// What happens to a picture's shape.
    Fit,
    /// Weights in a data file beside the artifact.
    ExternalData,
    /// Which position biases are stored.
    FoldTables,
    /// Whether what somebody else wrote is replaced.
    Force,
    /// Which of several classifiers.
    Head,
    /// Tensors that are left out.
    Ignore,
    /// What goes in.
    Input,
    /// How the numbers of a picture lie in the input.
    InputLayout,
    /// Name of the input.
    InputName,
    /// Element type of a picture's input.
    InputType,
    /// Lowest iOS version.
    Ios,
    /// Output channels that share a table of weights.
    PaletteGroup,
    /// Pictures that a quantised model is fitted to.
    Calibrate,
    /// How many of them.
    Samples,
    /// What is held in few bits.
    Quantize,
    /// Least signal to noise of a quantised model.
    MinSnr,
    /// Least share of classes that a quantised model keeps.
    Agreement,
    /// Layers that are not quantised.
    Keep,
    /// Pictures that a quantised model is judged by.
    Evaluate,
    /// Which processor runs a quantised ONNX file.
    Cpu,
    /// Whether an artifact that failed its check is left to look at.
    KeepFailed,
    /// Names of the classes.
    Labels,
    /// A file of pictures and their classes.
    List,
    /// Pictures of class indices.
    Masks,
    /// Mean of the pixels, per channel.
    Mean,
    /// Which model.
    Model,
    /// Opset of an ONNX file.
    Opset,
    /// What the model returns.
    Output,
    /// Names of the outputs.
    OutputName,
    /// Values of a file that become its outputs.
    Outputs,
    /// Where the artifact goes.
    Place,
    /// Element type of the computation.
    Precision,
    /// Seed of generated weights.
    Seed,
    /// Tensors under another name, `old=new`.
    Rename,
    /// Height and width of the input.
    Resolution,
    /// Sizes of a file's inputs.
    Shape,
    /// Probabilities for scores.
    Softmax,
    /// A probability of its own for each score.
    Sigmoid,
    /// Form of spectral transforms.
    Spectral,
    /// Standard deviation of the pixels, per channel.
    Std,
    /// The prefix of the model's tensors.
    StripPrefix,
    /// Form of talking heads.
    TalkingHeads,
    /// What the artifact is for.
    Target,
    /// Scores at the size of the input.
    Upsample,
    /// The trained weights.
    Weights,
    /// In masks 0 is no class.
    ZeroIgnored,
}

impl Setting {
    /// Every setting.
    pub const ALL: [Setting; 57] = [
        Setting::PaletteGroup,
        Setting::Calibrate,
        Setting::Samples,
        Setting::Quantize,
        Setting::MinSnr,
        Setting::Agreement,
        Setting::Keep,
        Setting::Evaluate,
        Setting::Cpu,
        Setting::Argmax,
        Setting::Attention,
        Setting::Batch,
        Setting::Bgr,
        Setting::Channels,
        Setting::Check,
        Setting::Choice,
        Setting::Classes,
        Setting::Decode,
        Setting::Ema,
        Setting::Expect,
        Setting::ExternalData,
        Setting::Fit,
        Setting::FoldTables,
        Setting::Force,
        Setting::Head,
        Setting::Ignore,
        Setting::Input,
        Setting::InputLayout,
        Setting::InputName,
        Setting::InputType,
        Setting::Ios,
        Setting::KeepFailed,
        Setting::Labels,
        Setting::List,
        Setting::Masks,
        Setting::Mean,
        Setting::Model,
        Setting::Opset,
        Setting::Output,
        Setting::OutputName,
        Setting::Outputs,
        Setting::Place,
        Setting::Precision,
        Setting::Rename,
        Setting::Resolution,
        Setting::Seed,
        Setting::Sigmoid,
        Setting::Shape,
        Setting::Softmax,
        Setting::Spectral,
        Setting::Std,
        Setting::StripPrefix,
        Setting::TalkingHeads,
        Setting::Target,
        Setting::Upsample,
        Setting::Weights,
        Setting::ZeroIgnored,
    ];

    /// Its neutral name, as a keyword argument would be called.
    pub fn name(self) -> &'static str {
        match self {
            Setting::PaletteGroup => "palette_group",
            Setting::Calibrate => "calibrate",
            Setting::Samples => "samples",
            Setting::Quantize => "quantize",
            Setting::MinSnr => "min_snr",
            Setting::Agreement => "agreement",
            Setting::Keep => "keep",
            Setting::Evaluate => "evaluate",
            Setting::Cpu => "cpu",
            Setting::Argmax => "argmax",
            Setting::Attention => "attention",
            Setting::Batch => "batch",
            Setting::Bgr => "bgr",
            Setting::Channels => "channels",
            Setting::Check => "check",
            Setting::Choice => "choice",
            Setting::Classes => "num_classes",
            Setting::Decode => "decode",
            Setting::Ema => "ema",
            Setting::Expect => "expect",
            Setting::ExternalData => "external_data",
            Setting::Fit => "fit",
            Setting::FoldTables => "fold_tables",
            Setting::Force => "force",
            Setting::Head => "head",
            Setting::Ignore => "ignore",
            Setting::Input => "input",
            Setting::InputLayout => "input_layout",
            Setting::InputType => "input_type",
            Setting::InputName => "input_name",
            Setting::Ios => "ios",
            Setting::KeepFailed => "keep_failed",
            Setting::Labels => "labels",
            Setting::List => "list",
            Setting::Masks => "masks",
            Setting::Mean => "mean",
            Setting::Model => "model",
            Setting::Opset => "opset",
            Setting::Output => "output",
            Setting::OutputName => "output_name",
            Setting::Outputs => "outputs",
            Setting::Place => "out",
            Setting::Precision => "precision",
            Setting::Rename => "rename",
            Setting::Resolution => "resolution",
            Setting::Seed => "seed",
            Setting::Sigmoid => "sigmoid",
            Setting::Shape => "shape",
            Setting::Softmax => "softmax",
            Setting::Spectral => "spectral",
            Setting::Std => "std",
            Setting::StripPrefix => "strip_prefix",
            Setting::TalkingHeads => "talking_heads",
            Setting::Target => "target",
            Setting::Upsample => "upsample",
            Setting::Weights => "weights",
            Setting::ZeroIgnored => "zero_ignored",
        }
    }

    /// With this value.
    pub fn to(self, value: impl fmt::Display) -> Given {
        Given { setting: self, value: Value::To(value.to_string()) }
    }

    /// Switched on.
    pub fn on(self) -> Given {
        Given { setting: self, value: Value::On }
    }

    /// Switched off.
    pub fn off(self) -> Given {
        Given { setting: self, value: Value::Off }
    }
}

/// A setting as a user gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Which setting.
    pub setting: Setting,
    /// What is said of it.
    pub value: Value,
}

/// What is said of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing: the setting is only named.
    Open,
    /// It is switched on.
    On,
    /// It is switched off.
    Off,
    /// It has this value.
    To(String),
}

impl From<Setting> for Given {
    fn from(setting: Setting) -> Given {
        Given { setting, value: Value::Open }
    }
}

/// What a user can have listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Every model.
    Models,
    /// The tensors of a checkpoint.
    Tensors,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Words.
    Text(String),
    /// A setting.
    Setting(Given),
    /// A list that helps.
    Listing(Listing),
}

/// What a user should know: words, and between them settings and lists as data. Made by [`message!`](crate::message!).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message(Vec<Part>);

impl Message {
    /// With this behind it.
    pub fn push(&mut self, more: impl Into<Message>) {
        for part in more.into().0 {
            match (self.0.last_mut(), part) {
                (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
                (_, part) => self.0.push(part),
            }
        }
    }

    /// Messages in a row, with words between them.
    pub fn joined(all: impl IntoIterator<Item = impl Into<Message>>, between: &str) -> Message {
        let mut joined = Message::default();
        for (i, one) in all.into_iter().enumerate() {
            if i > 0 {
                joined.push(between);
            }
            joined.push(one);
        }
        joined
    }

    /// As text, with what is data written as `data` says.
    pub fn written(&self, data: impl Fn(&Part) -> String) -> String {
        let word = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            part => data(part),
        };
        self.0.iter().map(word).collect()
    }
}

/// In neutral words: `resolution=224x224`.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Setting(Given { setting, value }) => match value {
                Value::Open => f.write_str(setting.name()),
                Value::On => write!(f, "{}=true", setting.name()),
                Value::Off => write!(f, "{}=false", setting.name()),
                Value::To(value) => write!(f, "{}={value}", setting.name()),
            },
            Part::Listing(Listing::Models) => f.write_str("the list of models"),
            Part::Listing(Listing::Tensors) => f.write_str("the list of tensors"),
        })
    }
}

/// In neutral words.
impl serde::Serialize for Message {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message(vec![Part::Text(text.into())])
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message(vec![Part::Text(text)])
    }
}

impl From<Setting> for Message {
    fn from(setting: Setting) -> Message {
        Given::from(setting).into()
    }
}

impl From<Given> for Message {
    fn from(given: Given) -> Message {
        Message(vec![Part::Setting(given)])
    }
}

impl From<Listing> for Message {
    fn from(listing: Listing) -> Message {
        Message(vec![Part::Listing(listing)])
    }
}

/// A [`Message`] of texts, settings, lists and other messages, one behind the other.
#[macro_export]
macro_rules! message {
    ($($part:expr),+ $(,)?) => {{
        let mut message = $crate::message::Message::default();
        $(message.push($part);)+
        message
    }};
}

/// An error whose message may name settings. Its `Display` is this message in neutral words.
pub trait Explain: std::error::Error {
    /// What, where, why, what to do.
    fn message(&self) -> Message;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    #[test]
    fn a_message_is_written_by_who_shows_it() {
        let sizes = [Setting::Resolution.to("224x224"), Setting::Resolution.to("256x256")];
        let why = message!("it is small\n  use ", Message::joined(sizes, " or "), ", or ", Setting::Ema.off());
        let neutral = "it is small\n  use resolution=224x224 or resolution=256x256, or ema=false";
        assert_eq!(why.to_string(), neutral);
        let shown = why.written(|part| match part {
            Part::Setting(given) => given.setting.name().to_uppercase(),
            _ => String::new(),
        });
        assert_eq!(shown, "it is small\n  use RESOLUTION or RESOLUTION, or EMA");
    }

    /// No string outside `cli` holds a flag.
    #[test]
    fn only_the_command_line_knows_flags() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut folders, mut files) = (vec![source.clone()], Vec::<PathBuf>::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
                match entry.is_dir() {
                    true if entry == source.join("cli") => {}
                    true => folders.push(entry),
                    false => files.push(entry),
                }
            }
        }
        let flag = |line: &str| {
            let line = line.trim_start();
            let dashes = || line.match_indices("--").map(|(at, _)| (&line[..at], &line[at + 2..]));
            let begins = |after: &str| after.starts_with(|c: char| c.is_ascii_lowercase());
            !line.starts_with("//") && dashes().any(|(before, after)| before.contains('"') && begins(after))
        };
        let read = |file: &PathBuf| std::fs::read_to_string(file).unwrap_or_default();
        let found: Vec<String> = files
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "rs") && !file.ends_with("tests.rs"))
            .flat_map(|file| {
                let lines: Vec<String> = read(file).lines().filter(|l| flag(l)).map(str::to_string).collect();
                lines.into_iter().map(move |line| format!("{}: {}", file.display(), line.trim()))
            })
            .collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
