//! A command on a thread of its own, so that Python goes on: its lock is free, Ctrl-C is seen, and what is Python's (progress, the person's own module)
//! runs on the thread that called.
//!
//! A command that is interrupted ends at the next thing that it has to say, by unwinding; nothing is in its place then. If that takes long, the folder in
//! which it works is removed under it, so that nothing is left if the program ends first.

use crate::tensor::held;
use crate::words::words;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyDict, PyTuple};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use vitc::check::{Witness, npy::Array};
use vitc::checkpoint::Checkpoint;
use vitc::cli::{Answered, Caller};
use vitc::export::Event;

/// How often signals are looked for.
const BLINK: Duration = Duration::from_millis(50);
/// How long an interrupted command has to clean up before the interrupt is passed on.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the command's thread says to Python's.
enum Said {
    /// What is being done (`true`), or something that the user should know.
    Event(bool, String),
    /// What does the module answer to these inputs?
    Asked(Vec<Array>, Sender<Result<Vec<Array>, String>>),
}

/// The person's module, asked through a channel.
struct Module {
    ask: Mutex<Sender<Said>>,
    half: bool,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Module")
    }
}

impl Witness for Module {
    fn answer(&self, inputs: &[Array]) -> Result<Vec<Array>, String> {
        let gone = || "the program ended".to_string();
        let (reply, answer) = channel();
        let asked = Said::Asked(inputs.to_vec(), reply);
        self.ask.lock().map_err(|_| gone())?.send(asked).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    fn is_half(&self) -> bool {
        self.half
    }
}

/// `call(args, weights, witness, progress)`: run a command.
///
/// `weights` is `None` or `(name, entries, settings as JSON or None)`, `witness` is `None` or `(function of [(bytes, shape)], half)`, `progress` is a
/// function of `(is a step, text)`.
pub(crate) fn call(args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = args.py();
    let words: Vec<OsString> = args.get_item(0)?.extract()?;
    let checkpoint = checkpoint(&args.get_item(1)?)?;
    let witness: Option<(Py<PyAny>, bool)> = args.get_item(2)?.extract()?;
    let progress: Py<PyAny> = args.get_item(3)?.extract()?;
    let (say, said) = channel();
    let module = witness.as_ref().map(|(_, half)| Module { ask: Mutex::new(say.clone()), half: *half });
    let stop = Arc::new(AtomicBool::new(false));
    let holds = checkpoint.is_some();
    let staged = Arc::new(Mutex::new(None));
    let command = Command { words, checkpoint, module, say, stop: stop.clone(), staged: staged.clone() };
    let running = std::thread::spawn(move || command.run());
    let listening = Listening { said: Mutex::new(said), progress, module: witness.map(|(function, _)| function) };
    if let Err(error) = listening.until_done(py, &running) {
        stop.store(true, Ordering::Relaxed);
        py.detach(|| give_up(&running, &staged));
        return Err(error);
    }
    let answered = py.detach(|| running.join());
    let answered = answered.map_err(|_| PyRuntimeError::new_err("vitc met a mistake of its own: please report it"))?;
    returned(py, answered, holds)
}

fn checkpoint(given: &Bound<'_, PyAny>) -> PyResult<Option<Checkpoint>> {
    if given.is_none() {
        return Ok(None);
    }
    let (name, entries, settings): (String, Vec<Bound<'_, PyAny>>, Option<String>) = given.extract()?;
    let tensors = entries.iter().map(held).collect::<PyResult<Vec<_>>>().map_err(|error| usage(given.py(), &error))?;
    let settings = settings.and_then(|text| serde_json::from_str(&text).ok());
    let made = Checkpoint::of_tensors(&name, tensors, settings);
    made.map(Some).map_err(|error| usage(given.py(), &PyValueError::new_err(error.to_string())))
}

/// The package's own error for tensors that are none; any other error as it is.
fn usage(py: Python<'_>, error: &PyErr) -> PyErr {
    let own = || py.import("vitc._errors")?.getattr("UsageError")?.call1((error.value(py).str()?,));
    match error.is_instance_of::<PyValueError>(py) {
        true => own().map_or_else(|other| other, PyErr::from_value),
        false => error.clone_ref(py),
    }
}

/// The folder of what is not finished, once there is one.
type Staged = Arc<Mutex<Option<PathBuf>>>;

/// What the command's thread does.
struct Command {
    words: Vec<OsString>,
    checkpoint: Option<Checkpoint>,
    module: Option<Module>,
    say: Sender<Said>,
    stop: Arc<AtomicBool>,
    /// Where it works.
    staged: Staged,
}

/// The unwinding of an interrupted command.
struct Interrupted;

impl Command {
    fn run(self) -> Answered {
        let say = Mutex::new(self.say);
        let observer = |event: Event<'_>| {
            if self.stop.load(Ordering::Relaxed) {
                std::panic::resume_unwind(Box::new(Interrupted));
            }
            let said = match event {
                Event::Step(what) => Said::Event(true, what.to_string()),
                Event::Notice(message) => Said::Event(false, words(message)),
                Event::Staged(folder) => {
                    if let Ok(mut staged) = self.staged.lock() {
                        *staged = folder.map(Path::to_path_buf);
                    }
                    return;
                }
            };
            if let Ok(say) = say.lock() {
                let _ = say.send(said); // nobody listens to what was interrupted
            }
        };
        let caller = Caller {
            words,
            weights: self.checkpoint.as_ref(),
            witness: self.module.map(|module| Arc::new(module) as Arc<dyn Witness>),
            observer: Some(&observer),
        };
        vitc::cli::call(&self.words, &caller)
    }
}

/// The calling thread, while the command runs.
struct Listening {
    said: Mutex<Receiver<Said>>,
    progress: Py<PyAny>,
    module: Option<Py<PyAny>>,
}

impl Listening {
    /// Pass on what is said until the command's thread has ended.
    fn until_done(&self, py: Python<'_>, running: &JoinHandle<Answered>) -> PyResult<()> {
        loop {
            let next = py.detach(|| self.said.lock().ok().map(|said| said.recv_timeout(BLINK)));
            match next {
                Some(Ok(Said::Event(step, text))) => {
                    self.progress.call1(py, (step, text))?;
                }
                Some(Ok(Said::Asked(inputs, reply))) => {
                    let answer = self.asked(py, &inputs)?;
                    let _ = reply.send(Ok(answer));
                }
                Some(Err(RecvTimeoutError::Timeout)) if running.is_finished() => return Ok(()),
                Some(Err(RecvTimeoutError::Timeout)) => {}
                Some(Err(RecvTimeoutError::Disconnected)) | None => return Ok(()),
            }
            py.check_signals()?;
        }
    }

    /// What the module answers.
    fn asked(&self, py: Python<'_>, inputs: &[Array]) -> PyResult<Vec<Array>> {
        let Some(module) = &self.module else { return Ok(Vec::new()) };
        let given: Vec<(Bound<'_, PyBytes>, Vec<usize>)> = inputs
            .iter()
            .map(|input| {
                let bytes: Vec<u8> = input.data.iter().flat_map(|v| v.to_ne_bytes()).collect();
                (PyBytes::new(py, &bytes), input.shape.clone())
            })
            .collect();
        let answers: Vec<(Vec<u8>, Vec<usize>)> = module.call1(py, (given,))?.extract(py)?;
        let array = |(bytes, shape): (Vec<u8>, Vec<usize>)| {
            let numbers = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_ne_bytes(b));
            Array { shape, data: numbers.collect() }
        };
        Ok(answers.into_iter().map(array).collect())
    }
}

/// Wait for an interrupted command, within reason; then take away where it works.
fn give_up(running: &JoinHandle<Answered>, staged: &Staged) {
    let mut waited = Duration::ZERO;
    while !running.is_finished() && waited < PATIENCE {
        std::thread::sleep(BLINK);
        waited += BLINK;
    }
    let folder = staged.lock().ok().and_then(|staged| staged.clone());
    if let Some(folder) = folder.filter(|_| !running.is_finished()) {
        let _ = std::fs::remove_dir_all(folder); // what the system does not let go now, the next export there removes
    }
}

/// `(exit code, JSON, text, message, page or None)`; the page is a function that writes it. An export that `holds` tensors of the program writes it at once
/// and lets go of them.
fn returned(py: Python<'_>, answered: Answered, holds: bool) -> PyResult<Py<PyAny>> {
    let page = match answered.report {
        None => py.None(),
        Some(report) if holds => {
            let text = py.detach(|| vitc::report::page(&report, &words));
            page(py, move || Ok(text.clone()))?
        }
        Some(report) => {
            let report = Mutex::new(report);
            page(py, move || {
                let report = report.lock().map_err(|_| PyRuntimeError::new_err("the report is lost"))?;
                Ok(vitc::report::page(&report, &words))
            })?
        }
    };
    let parts = (answered.exit, answered.json.to_string(), answered.text, answered.message, page);
    Ok(parts.into_pyobject(py)?.into_any().unbind())
}

/// A function of Python's that returns a text.
fn page(py: Python<'_>, text: impl Fn() -> PyResult<String> + Send + Sync + 'static) -> PyResult<Py<PyAny>> {
    let called = move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| text();
    Ok(PyCFunction::new_closure(py, Some(c"page"), None, called)?.into_any().unbind())
}
