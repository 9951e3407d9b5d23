//! The page as a browser and a hostile checkpoint meet it.

use super::*;
use crate::export::{Destination, RequestBuilder, TargetKind, WeightsLine, finish, lower};
use crate::model::ModelRequest;
use std::collections::BTreeSet;

/// A small export with its page: the report, and the page's text as it lies on disk.
fn made(precision: DType) -> (Report, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let model = ModelRequest { resolution: Some([64, 64]), ..ModelRequest::named("efficientformerv2-s0") };
    let mut builder = RequestBuilder::new(model, TargetKind::TensorRt).output(&folder.path().join("model.onnx"));
    builder.numbers.precision = Some(precision);
    builder.check.layers = true;
    let request = builder.build().expect("may be asked");
    let lowered = lower(&request, &|_| {}).expect("lowers");
    let file = PageFile::begin(Some(&folder.path().join("page.html")), &lowered.model.name, false).expect("a place");
    let scratch = file.scratch().expect("a folder");
    let mut report = finish(&request, lowered, Destination::Scratch(&scratch), &|_| {}).expect("exports");
    file.write(&mut report, &Message::to_string).expect("writes");
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).expect("lists").map(|e| e.expect("is there").file_name()).collect();
    assert_eq!(names, ["page.html"], "the artifact does not stay");
    let path = report.page.as_ref().expect("was asked for");
    assert!(written_by_vitc(path));
    let text = std::fs::read_to_string(path).expect("was written");
    // Lowered anew: equal exports give equal pages.
    report.lowered = lower(&request, &|_| {}).expect("lowers");
    (report, text)
}

/// Every tag is closed where it should be; returns attributes by name, in order.
fn well_formed(page: &str) -> Vec<(String, String)> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").expect("opens as HTML");
    let mut open: Vec<String> = Vec::new();
    let mut attributes = Vec::new();
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a stray > in {:?}", &rest[..at]);
        let end = at + rest[at..].find('>').expect("tags end");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed in order");
            continue;
        }
        let (name, mut inside) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{tag}");
        while !inside.is_empty() {
            let (key, value) = inside.trim_start().split_once("=\"").expect("attributes have values");
            let (value, after) = value.split_once('"').expect("in quotes");
            attributes.push((key.to_string(), value.to_string()));
            inside = after;
        }
        if ["style", "script"].contains(&name) {
            rest = &rest[rest.find(&format!("</{name}>")).expect("is closed")..];
        }
        if !html_void(name) {
            open.push(name.to_string());
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    attributes
}

fn html_void(name: &str) -> bool {
    ["meta", "br", "wbr"].contains(&name)
}

#[test]
fn the_page_is_well_formed_whole_and_the_same_each_time() {
    for precision in [DType::F32, DType::F16] {
        let (report, text) = made(precision);
        assert!(page(&report, &Message::to_string) == text, "equal exports give equal bytes");
        let attributes = well_formed(&text);
        let of = |name: &str| attributes.iter().filter(|(k, _)| k == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        let ids: BTreeSet<&str> = of("id").into_iter().collect();
        assert_eq!(ids.len(), of("id").len(), "each id once");
        for section in ["stages", "passes", "check", "layers", "ranges", "precision", "graph"] {
            assert!(ids.contains(section), "{section}");
        }
        for link in of("href") {
            assert!(ids.contains(link.strip_prefix('#').expect("leads nowhere else")), "{link}");
        }
        assert!(of("src").is_empty());
        for outside in ["://", "url(", "@import", "srcset"] {
            assert!(!text.contains(outside), "{outside}");
        }
        // Every operator of the file is in the picture, once.
        let operators = ids.iter().filter(|id| id.starts_with("op-")).count();
        assert_eq!(operators, report.lowered.graph.run_time_nodes().count());
        let islands = text.contains("softmax: its sum");
        assert_eq!(islands, precision == DType::F16);
    }
}

#[test]
fn every_float_value_has_a_range_and_many_an_error() {
    let (report, _) = made(DType::F16);
    let page = Page::new(&report, &Message::to_string);
    assert!(page.values.len() > 150);
    for value in &page.values {
        assert!(value.max.is_some_and(f64::is_finite), "{}", value.name);
    }
    let errors: Vec<f64> = page.values.iter().filter_map(Value::relative_error).collect();
    assert!(errors.len() > 20, "{}", errors.len());
    assert!(errors.iter().all(|e| *e < 0.02), "{errors:?}");
    assert!(page.values.iter().filter(|v| v.wide).count() >= 5);
}

#[test]
fn names_from_outside_stay_text() {
    let (mut report, _) = made(DType::F32);
    let hostile = "</title></td><script>alert(\"1\")</script><img src=x onerror='1'>&amp;";
    report.weights =
        WeightsLine::Checkpoint { file: hostile.into(), blake3: hostile.into(), found: vec![hostile.into()] };
    report.notices.push(hostile.into());
    report.lowered.labels = Some(vec![hostile.into(), hostile.into()]);
    report.inputs[0].name = hostile.into();
    report.rounding.largest = hostile.into();
    report.passes[0].notes.push(hostile.into());
    let node = report.lowered.graph.run_time_nodes().nth(20).expect("has as many").0;
    report.lowered.graph.rename(node, &format!("stage.0.{hostile}"));
    let text = page(&report, &Message::to_string);
    well_formed(&text);
    assert!(!text.contains("<script>alert") && !text.contains("<img"));
    assert!(text.matches("&lt;script&gt;alert(&quot;1&quot;)").count() >= 6);
}

#[test]
fn a_file_that_vitc_did_not_write_is_not_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("theirs.html");
    std::fs::write(&path, "<!DOCTYPE html><html></html>").expect("writes");
    assert!(!written_by_vitc(&path) && !written_by_vitc(folder.path()));
}
