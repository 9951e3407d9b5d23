//! How the command line writes what messages of the library leave open: settings as flags, lists as commands.

use crate::message::{Explain, Given, Listing, Message, Part, Setting, Value};

/// A message as the command line says it.
pub fn words(message: &Message) -> String {
    message.written(|part| match part {
        Part::Text(text) => text.clone(),
        Part::Setting(given) => setting(given),
        Part::Listing(Listing::Models) => "vitc list".into(),
        Part::Listing(Listing::Tensors) => "vitc inspect FILE --tensors".into(),
    })
}

/// An error as the command line says it.
pub fn explained(error: &impl Explain) -> String {
    words(&error.message())
}

fn setting(Given { setting, value }: &Given) -> String {
    let flag = flag(*setting);
    match (setting, value) {
        // The element types are flags of their own.
        (Setting::Precision, Value::To(precision)) => format!("--{precision}"),
        (Setting::Model, Value::To(name)) => name.clone(),
        (_, Value::To(value)) => format!("{flag} {value}"),
        (_, Value::Off) => flag.replacen("--", "--no-", 1),
        (_, Value::On | Value::Open) => flag.into(),
    }
}

fn flag(setting: Setting) -> &'static str {
    match setting {
        Setting::PaletteGroup => "--palette-group",
        Setting::Calibrate => "--calibrate",
        Setting::Samples => "--samples",
        Setting::Quantize => "--quantize",
        Setting::MinSnr => "--min-snr",
        Setting::Agreement => "--agreement",
        Setting::Keep => "--keep",
        Setting::Evaluate => "--evaluate",
        Setting::Cpu => "--cpu",
        Setting::Argmax => "--argmax",
        Setting::Attention => "--attention",
        Setting::Batch => "--batch",
        Setting::Bgr => "--bgr",
        Setting::Channels => "--channels",
        Setting::Check => "--check",
        Setting::Choice => "--choice",
        Setting::Classes => "--num-classes",
        Setting::Decode => "--decode",
        Setting::Ema => "--ema",
        Setting::Expect => "--expect",
        Setting::ExternalData => "--external-data",
        Setting::Fit => "--fit",
        Setting::FoldTables => "--fold-tables",
        Setting::Force => "--force",
        Setting::Head => "--head",
        Setting::Ignore => "--ignore",
        Setting::Input => "--input",
        Setting::InputLayout => "--input-layout",
        Setting::InputType => "--input-type",
        Setting::InputName => "--input-name",
        Setting::Ios => "--ios",
        Setting::KeepFailed => "--keep-failed",
        Setting::Labels => "--labels",
        Setting::List => "--list",
        Setting::Masks => "--masks",
        Setting::Mean => "--mean",
        Setting::Model => "MODEL",
        Setting::Opset => "--opset",
        Setting::Output => "--output",
        Setting::OutputName => "--output-name",
        Setting::Outputs => "--outputs",
        Setting::Place => "-o",
        Setting::Precision => "--fp16",
        Setting::Rename => "--rename",
        Setting::Resolution => "--resolution",
        Setting::Seed => "--seed",
        Setting::Sigmoid => "--sigmoid",
        Setting::Shape => "--shape",
        Setting::Softmax => "--softmax",
        Setting::Spectral => "--spectral",
        Setting::Std => "--std",
        Setting::StripPrefix => "--strip-prefix",
        Setting::TalkingHeads => "--talking-heads",
        Setting::Target => "--target",
        Setting::Upsample => "--upsample",
        Setting::Weights => "--weights",
        Setting::ZeroIgnored => "--zero-ignored",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_setting_is_a_flag() {
        let command = super::super::Cli::command();
        // What `evaluate` alone is asked stands in messages too.
        let asking = ["export", "evaluate"].map(|name| command.find_subcommand(name).expect("a command"));
        let arguments = || asking.iter().flat_map(|command| command.get_arguments());
        let known = |word: &str| match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(long), _) => arguments().any(|a| a.get_long() == Some(long)),
            (None, Some(short)) => arguments().any(|a| a.get_short() == short.chars().next()),
            _ => arguments().any(|a| a.is_positional() && a.get_value_names().is_some_and(|n| n[0] == word)),
        };
        for setting in Setting::ALL {
            assert!(known(flag(setting)), "{setting:?}");
        }
        for given in [Setting::Ema.off(), Setting::Check.off(), Setting::Labels.off(), Setting::Precision.to("fp32")] {
            assert!(known(&words(&given.clone().into())), "{given:?}");
        }
    }

    #[test]
    fn values_follow_their_flags() {
        let said = crate::message!(
            Setting::Resolution.to("224x224"),
            ", ",
            Setting::Precision.to("fp16"),
            ", ",
            Setting::Model
        );
        assert_eq!(words(&said), "--resolution 224x224, --fp16, MODEL");
    }
}
