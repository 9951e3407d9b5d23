//! Checkpoints of real models in the forms that people save them in: family, container, wrapping and prefix, element type, head. Each must
//! load, be recognised as its variant, and hold the same weights as every other form of that model. And what is said of those that must not.

#[path = "../common/mod.rs"]
mod common;
mod config_text;
mod containers;
mod hostile;
mod kinds;
mod own;
mod readme;
mod settings;
mod state;
#[path = "../torch_file/mod.rs"]
mod torch_file;
mod wrong;

use state::State;
use std::path::{Path, PathBuf};
use torch_file::{Item, archive, legacy, safetensors_file};
use vitc::model::{Model, ModelRequest, WeightSource};
use vitc_ir::Shape;

/// Tensors as the bytes of one file.
type Encode<'a> = dyn Fn(&[(String, torch_file::Tensor)]) -> Vec<u8> + 'a;

/// Every form, one a line.
///
/// - `model`: the variant that must be recognised.
/// - `state`: golden manifest that lists the state dict; `+merged` for the family's merged form, `+N` for position tables of an image of side N.
/// - `container`: `zip` and `legacy` of PyTorch, `safetensors`, or a folder: `folder` (model.safetensors), `bin` (pytorch_model.bin), `shards`
///   (safetensors with index), `bins`; folders have a config.json.
/// - `names`: dicts that wrap the tensors, ended by `/`, then the prefix of every name.
/// - `type`: element type; `mixed` is f16 with vectors in f32.
/// - `head`: classes of every head; `none` for no classifier, `N/first` for the first head alone.
/// - `size`: input height and width that must be read off, `-` for the published one.
/// - `beside`: what else the file holds: an optimizer, the script's arguments (`args`), a second copy with other values under a name.
const FORMS: &str = "
model                 state                                       container    names                     type   head        size     beside
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0        safetensors  -                         f32    1000        -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0        zip          -                         f32    1000        -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0        legacy       -                         f32    1000        -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0        zip          model/                    f32    10          -        optimizer,args,model_ema
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0        legacy       model/module.             f16    10          -        optimizer,args
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0        zip          -                         f64    37          -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0        zip          -                         mixed  1000/first  -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0+256    zip          -                         f32    1000        256x256  -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_nodist zip          model/                    f32    1000        -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_nodist safetensors  net.encoder.              bf16   10          -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_timm   folder       -                         f32    1000        -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_timm   folder       -                         f16    10          192x192  -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_timm   bin          -                         f32    none        -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_timm   shards       timm_model.               f16    10          -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_timm   bins         -                         bf16   1000        -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_timm   safetensors  backbone.                 bf16   none        -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_timm   zip          state_dict/               f32    10          -        optimizer,args,state_dict_ema
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_timm   zip          state_dict/model.         f32    10          -        optimizer
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_timm   zip          _orig_mod.                f16    1000/first  -        -
efficientformerv2-s0  efficientformerv2/efficientformerv2_s0_timm   zip          model/_orig_mod.module.   bf16   10          -        args
cas-vit-xs            casvit/rcvit_xs                               safetensors  -                         f32    1000        -        -
cas-vit-xs            casvit/rcvit_xs                               zip          model/                    f32    10          -        optimizer,args,model_ema
cas-vit-xs            casvit/rcvit_xs                               zip          model/                    f32    1000        384x384  args
cas-vit-xs            casvit/rcvit_xs                               legacy       module.                   f16    1000/first  -        -
cas-vit-xs            casvit/rcvit_xs                               folder       -                         bf16   10          384x384  -
cas-vit-xs            casvit/rcvit_xs                               shards       backbone.                 f16    none        -        -
cas-vit-xs            casvit/rcvit_xs                               zip          state_dict/model.net.     f64    1000        -        optimizer
ffnet-1               ffnet/ffnet_1                                 zip          state_dict/               f32    1000        -        state_dict_ema
ffnet-1               ffnet/ffnet_1                                 safetensors  encoder.                  f16    none        -        -
ffnet-1               ffnet/ffnet_1                                 legacy       module.                   f16    10          -        -
ffnet-1               ffnet/ffnet_1                                 shards       -                         bf16   1000        -        -
ffnet-1               ffnet/ffnet_1+merged                          zip          -                         f32    1000        -        -
ffnet-1               ffnet/ffnet_1+merged                          folder       model.                    f16    10          384x384  -
fastervit-0           fastervit/faster_vit_0_224                    zip          state_dict/module.        f16    1000        -        state_dict_ema
fastervit-0           fastervit/faster_vit_0_224                    safetensors  -                         f32    10          -        -
fastervit-0           fastervit/faster_vit_0_224                    folder       encoder.                  bf16   none        -        -
fastervit-0           fastervit/faster_vit_0_224                    legacy       -                         f16    10          -        -
fastervit-0-any-res   fastervit/faster_vit_0_any_res_256x320        zip          model/                    f16    1000        256x320  args
fastervit-0-any-res   fastervit/faster_vit_0_any_res_256x320        bins         -                         bf16   10          256x320  -
affnet-et             affnet/affnet_et                              zip          -                         f32    1000        -        -
affnet-et             affnet/affnet_et                              zip          model_state_dict/         f32    1000        -        optimizer,ema_state_dict
affnet-et             affnet/affnet_et                              legacy       module.                   f16    10          -        -
affnet-et             affnet/affnet_et                              folder       -                         f16    1000        224x224  -
affnet-et             affnet/affnet_et                              bin          module.                   bf16   10          -        -
affnet-et             affnet/affnet_et                              shards       backbone.                 f32    none        -        -
affnet-et             affnet/affnet_et_bn                           safetensors  -                         f32    10          -        -
fmvit-t               fmvit/fmvit_t                                 zip          model/                    f32    1000        -        optimizer,args
fmvit-t               fmvit/fmvit_t                                 legacy       module.                   f16    10          -        -
fmvit-t               fmvit/fmvit_t                                 folder       -                         bf16   none        -        -
fmvit-t               fmvit/fmvit_t+merged                          safetensors  -                         f32    10          -        -
fmvit-t               fmvit/fmvit_t+merged                          zip          state_dict/model.         f16    1000        -        optimizer
dsm-t                 dsm/dsm_t                                     safetensors  -                         f16    10          -        -
dsm-t                 dsm/dsm_t                                     zip          model/module.             bf16   1000        -        args
dsm-t                 dsm/dsm_t                                     legacy       -                         f16    1000        -        -
dsm-t                 dsm/dsm_t                                     bins         net._orig_mod.            f16    none        -        -
";

/// One line of [`FORMS`].
#[derive(Debug)]
struct Form<'a> {
    model: &'a str,
    state: &'a str,
    container: &'a str,
    names: &'a str,
    dtype: &'a str,
    head: &'a str,
    size: Option<[usize; 2]>,
    beside: Vec<&'a str>,
}

impl<'a> Form<'a> {
    fn of(line: &'a str) -> Form<'a> {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [model, state, container, names, dtype, head, size, beside] = cells[..] else { panic!("{line}") };
        let size = size.split_once('x').map(|(h, w)| [h, w].map(|side| side.parse().unwrap()));
        let beside = beside.split(',').filter(|b| *b != "-").collect();
        Form { model, state, container, names: if names == "-" { "" } else { names }, dtype, head, size, beside }
    }

    /// Every tensor with its name in the file.
    fn state(&self) -> State {
        let mut state = State::load(self.state, self.model);
        state.set_head(self.head);
        if let (Some([height, width]), true) = (self.size, self.model.starts_with("efficientformerv2")) {
            state.set_map([height / 32, width / 32]);
        }
        state
    }

    /// Write the checkpoint into the folder; what `--weights` is given.
    fn save(&self, state: &State, folder: &Path) -> PathBuf {
        let (wrappers, prefix) = self.names.rsplit_once('/').map_or((None, self.names), |(w, p)| (Some(w), p));
        let tensors = state.tensors(prefix, self.dtype, 0);
        let path = |name: &str| folder.join(name);
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.join(name), bytes).unwrap();
        let dict = |tensors: &[(String, torch_file::Tensor)]| {
            Item::dict(tensors.iter().map(|(key, tensor)| (key.clone(), Item::Tensor(tensor.clone()))))
        };
        let object = || match wrappers {
            None => dict(&tensors),
            Some(wrapper) => {
                let beside = self.beside.iter().map(|name| (name.to_string(), self.companion(name, state, prefix)));
                Item::dict(
                    [("epoch".to_string(), Item::Int(299)), (wrapper.into(), dict(&tensors))].into_iter().chain(beside),
                )
            }
        };
        let config = || {
            let [height, width] = self.size.unwrap_or(state.variant.resolution);
            let classes = self.head.split('/').next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
            let json = serde_json::json!({
                "architecture": state.variant.aliases.first().unwrap_or(&self.model).replace('-', "_"), "num_classes": classes,
                "pretrained_cfg": {"input_size": [3, height, width], "interpolation": "bicubic", "crop_pct": 0.95},
            });
            write("config.json", json.to_string().into_bytes());
        };
        let shards = |stem: &str, ending: &str, file: &Encode<'_>| {
            let mut map = serde_json::Map::new();
            for (i, part) in tensors.chunks(tensors.len() / 2 + 1).enumerate() {
                let name = format!("{stem}-{:05}-of-00002.{ending}", i + 1);
                map.extend(part.iter().map(|(key, _)| (key.clone(), name.clone().into())));
                write(&name, file(part));
            }
            write(
                &format!("{stem}.{ending}.index.json"),
                serde_json::json!({"weight_map": map}).to_string().into_bytes(),
            );
        };
        match self.container {
            "zip" => write("checkpoint.pth", archive(&object())),
            "legacy" => write("checkpoint.pth", legacy(&object())),
            "safetensors" => write("checkpoint.safetensors", safetensors_file(&tensors)),
            "folder" => write("model.safetensors", safetensors_file(&tensors)),
            "bin" => write("pytorch_model.bin", archive(&dict(&tensors))),
            "shards" => shards("model", "safetensors", &safetensors_file),
            "bins" => shards("pytorch_model", "bin", &|part| archive(&dict(part))),
            other => panic!("{other} is no container"),
        }
        match self.container {
            "zip" | "legacy" => path("checkpoint.pth"),
            "safetensors" => path("checkpoint.safetensors"),
            _ => {
                config();
                folder.to_path_buf()
            }
        }
    }

    /// What a training script leaves beside the weights.
    fn companion(&self, name: &str, state: &State, prefix: &str) -> Item {
        let side = |side: usize| Item::Int(side as i64);
        match name {
            "optimizer" => {
                let moments = Item::dict([("step", Item::Int(7)), ("exp_avg", Item::f32(&[2], [0.0, 1.0]))]);
                Item::dict([
                    ("state", Item::dict([("0", moments)])),
                    ("param_groups", Item::dict([("lr", Item::Int(0))])),
                ])
            }
            "args" => {
                let mut args = vec![("model".to_string(), Item::Text(state.variant.name))];
                match self.size {
                    Some([height, width]) if height == width => args.push(("input_size".into(), side(height))),
                    Some([height, width]) => {
                        args.push(("img_size".into(), Item::Tuple(vec![side(height), side(width)])));
                    }
                    None => {}
                }
                Item::Namespace(args)
            }
            // A copy of the weights with other values.
            _ => Item::dict(state.tensors(prefix, self.dtype, 1).into_iter().map(|(key, t)| (key, Item::Tensor(t)))),
        }
    }
}

fn forms() -> impl Iterator<Item = (&'static str, Form<'static>)> {
    FORMS.lines().skip(2).map(|line| (line, Form::of(line)))
}

/// Loads the form and compares variant, size, results, types and every element with what was saved.
fn assert_loads(form: &Form<'_>) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let state = form.state();
    let path = form.save(&state, folder.path());
    let model = Model::load(&ModelRequest::checkpoint(&path)).map_err(|e| e.to_string())?;
    let expect = |what: &str, found: String, wanted: String| match found == wanted {
        true => Ok(()),
        false => Err(format!("{what} {found}, expected {wanted}")),
    };
    expect("variant", model.name.clone(), form.model.into())?;
    let size = form.size.unwrap_or(state.variant.resolution);
    expect("size", format!("{:?}", model.resolution), format!("{size:?}"))?;
    let [output] = &model.graph.outputs[..] else { return Err("not one result".into()) };
    let Shape(dims) = model.graph.shape(output.value);
    let last = dims.last().unwrap().at(1);
    match form.head.split('/').next() {
        Some("none") => expect("result", output.name.clone(), "features".into())?,
        classes => {
            expect("result", format!("{} {last}", output.name), format!("logits {}", classes.unwrap_or_default()))?
        }
    }
    let WeightSource::Checkpoint { weights, .. } = &model.weights else { return Err("no checkpoint's weights".into()) };
    for (key, ty) in model.graph.weights() {
        let shape = ty.shape.at(1);
        let stored = vitc_ir::Weights::weight(weights, key, shape.iter().product()).map_err(|e| e.to_string())?;
        let (dtype, bytes) = state.expected(key, &shape, form.dtype);
        expect(key, format!("{:?}", stored.dtype), format!("{dtype:?}"))?;
        if *stored.bytes != *bytes {
            return Err(format!("{key} holds other values than were saved"));
        }
    }
    Ok(())
}

fn assert_family_loads(families: &[&str]) {
    let mut count = 0;
    for (line, form) in forms().filter(|(_, form)| families.iter().any(|family| form.state.starts_with(family))) {
        assert_loads(&form).unwrap_or_else(|e| panic!("{line}\n{e}"));
        count += 1;
    }
    assert!(count >= 4, "{families:?} have {count} forms");
}

// One test a family: they run side by side.
#[test]
fn efficientformerv2_and_fmvit_load() {
    assert_family_loads(&["efficientformerv2/"]);
    assert_family_loads(&["fmvit/"]);
}

#[test]
fn casvit_and_affnet_load() {
    assert_family_loads(&["casvit/"]);
    assert_family_loads(&["affnet/"]);
}

#[test]
fn ffnet_and_dsm_load() {
    assert_family_loads(&["ffnet/"]);
    assert_family_loads(&["dsm/"]);
}

#[test]
fn fastervit_loads() {
    assert_family_loads(&["fastervit/"]);
}

#[test]
fn the_table_covers_every_family_and_form() {
    let forms: Vec<Form<'_>> = forms().map(|(_, form)| form).collect();
    assert!(forms.len() >= 40, "{} forms", forms.len());
    // Families without a classifier are loaded by the tests of dense prediction.
    for family in vitc::arch::FAMILIES.iter().filter(|f| !f.heads.is_empty()) {
        let of: Vec<&Form<'_>> =
            forms.iter().filter(|f| vitc::arch::find(f.model).unwrap().family.id == family.id).collect();
        let distinct =
            |cell: fn(&Form<'_>) -> String| of.iter().map(|f| cell(f)).collect::<std::collections::BTreeSet<_>>().len();
        let columns: [fn(&Form<'_>) -> String; 4] =
            [|f| f.container.into(), |f| f.names.into(), |f| f.dtype.into(), |f| f.head.into()];
        assert!(columns.into_iter().all(|column| distinct(column) >= 2), "{} has too few forms", family.id);
    }
}
