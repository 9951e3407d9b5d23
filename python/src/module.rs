//! The module `vitc._vitc` and its functions.

use crate::command;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use std::ffi::{CStr, OsString};
use std::path::PathBuf;
use std::ptr::null_mut;

/// Arguments of a call from Python.
type Arguments<'a, 'py> = &'a Bound<'py, PyTuple>;

/// What Python knows about the module; it lives as long as the process.
struct Definition(std::cell::UnsafeCell<ffi::PyModuleDef>);

// SAFETY: only the interpreter touches it, with its lock held.
#[allow(unsafe_code)]
unsafe impl Sync for Definition {}

static DEFINITION: Definition = Definition(std::cell::UnsafeCell::new(ffi::PyModuleDef {
    m_base: ffi::PyModuleDef_HEAD_INIT,
    m_name: c"_vitc".as_ptr(),
    m_doc: c"The native half of vitc.".as_ptr(),
    m_size: -1,
    m_methods: null_mut(),
    m_slots: null_mut(),
    m_traverse: None,
    m_clear: None,
    m_free: None,
}));

/// Called by Python's import.
///
/// # Safety
/// Only the interpreter calls it, with its lock held.
#[unsafe(no_mangle)]
#[allow(unsafe_code, non_snake_case)]
unsafe extern "C" fn PyInit__vitc() -> *mut ffi::PyObject {
    Python::attach(|py| {
        // SAFETY: the definition is static; what is returned is a new reference or null with an error set.
        let made = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyModule_Create(DEFINITION.0.get())) };
        match made.and_then(|module| filled(&module).map(|()| module)) {
            Ok(module) => module.into_ptr(),
            Err(error) => {
                error.restore(py);
                null_mut()
            }
        }
    })
}

fn filled(module: &Bound<'_, PyAny>) -> PyResult<()> {
    module.setattr("__version__", env!("CARGO_PKG_VERSION"))?;
    add(
        module,
        c"main",
        c"main(argv) -> int\n\nRun the program with these arguments, its name first; its exit code.",
        |args| {
            let words: Vec<OsString> = args.get_item(0)?.extract()?;
            let code = args.py().detach(|| vitc::cli::program(&words));
            Ok(code.into_pyobject(args.py())?.into_any().unbind())
        },
    )?;
    add(module, c"options", c"options(command) -> str\n\nThe options of a command, as JSON.", |args| {
        let command: String = args.get_item(0)?.extract()?;
        let options = vitc::cli::options(&command).unwrap_or_default();
        let json = serde_json::json!(options).to_string();
        Ok(json.into_pyobject(args.py())?.into_any().unbind())
    })?;
    add(
        module,
        c"is_model_file",
        c"is_model_file(path) -> bool\n\nWhether a path holds a whole model: graph and weights.",
        |args| {
            let path: PathBuf = args.get_item(0)?.extract()?;
            let is = vitc::model::is_model_file(&path);
            Ok(is.into_pyobject(args.py())?.to_owned().into_any().unbind())
        },
    )?;
    add(
        module,
        c"call",
        c"call(args, weights, witness, progress) -> tuple\n\nRun a command: (exit code, JSON, text, message, page or None).",
        command::call,
    )
}

/// Add a function that takes its arguments by place.
fn add(
    module: &Bound<'_, PyAny>,
    name: &'static CStr,
    doc: &'static CStr,
    function: impl Fn(Arguments<'_, '_>) -> PyResult<Py<PyAny>> + Send + Sync + 'static,
) -> PyResult<()> {
    let called = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| function(args);
    let function = PyCFunction::new_closure(module.py(), Some(name), Some(doc), called)?;
    module.setattr(name.to_string_lossy().as_ref(), function)
}
