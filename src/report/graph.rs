//! The graph as a picture: an overview of stages and blocks with the values that run between them, and below it each block's operators with
//! their data flow.

use super::blocks::Block;
use super::chart::px;
use super::html::{Element, el, text};
use super::lanes::lanes;
use super::{Page, anchor, kind};
use crate::numbers::{count, magnitude, si};
use std::collections::BTreeMap;
use vitc_ir::{DType, Graph, NodeId, Op, Value, cost};

/// Colours with what they stand for.
const KINDS: [(&str, &str); 8] = [
    ("conv", "convolution"),
    ("product", "matrix product, transform"),
    ("softmax", "softmax, attention"),
    ("norm", "norm, mean, pooling"),
    ("act", "activation"),
    ("sum", "sum, product by element"),
    ("move", "movement"),
    ("cast", "cast"),
];

/// Overview and blocks.
pub(super) fn section(page: &Page<'_>) -> Element {
    let graph = &page.lowered.graph;
    let legend = KINDS.iter().map(|(class, what)| el("span").add(el("i").class(format!("chip {class}"))).text(*what));
    let note = "The graph that was written, in blocks by path. The more colour in a block, the more of the work it does; it leads to its operators. Lines beside them are values, \
                from where they are made to where they are read.";
    let buttons = el("p")
        .class("buttons")
        .add(text("button", "open all").attr("type", "button").attr("data-open", "1"))
        .add(text("button", "close all").attr("type", "button").attr("data-open", ""));
    let mut section = el("section").attr("id", "graph").add(text("h2", "Graph")).add(text("p", note));
    section = section.add(el("p").class("legend").all(legend)).add(overview(page, graph)).add(buttons);
    let mut first = 0;
    while let Some(stage) = page.blocks.get(first).map(|b| &b.stage) {
        let count = page.blocks[first..].iter().take_while(|b| b.stage == *stage).count();
        // A stage of one block needs no headline of its own.
        let many = (count > 1).then(|| text("h3", stage));
        let class = if count > 1 { "stage many" } else { "stage" };
        let inside = (first..first + count).map(|i| operators(page, graph, i));
        section = section.add(el("div").class(class).all(many).all(inside));
        first += count;
    }
    section
}

const TILE: [f64; 2] = [126.0, 42.0];
const GAP: [f64; 2] = [16.0, 18.0];
/// Where tiles start: the stages' names stand before.
const START: f64 = 156.0;
const ROW_OF: usize = 6;
const WIDTH: f64 = START + ROW_OF as f64 * (TILE[0] + GAP[0]);

/// Stages as bands, blocks as tiles, and the values between blocks as lines.
fn overview(page: &Page<'_>, graph: &Graph) -> Element {
    // Top left corner of each tile; top, height and first block of each band.
    let mut corners: Vec<[f64; 2]> = Vec::new();
    let mut bands: Vec<(f64, f64, usize)> = Vec::new();
    let mut top = 0.0;
    let mut first = 0;
    while first < page.blocks.len() {
        let count = page.blocks[first..].iter().take_while(|b| b.stage == page.blocks[first].stage).count();
        let rows = count.div_ceil(ROW_OF);
        let height = rows as f64 * (TILE[1] + GAP[1]) + GAP[1];
        corners.extend((0..count).map(|i| {
            let (row, column) = (i / ROW_OF, i % ROW_OF);
            [START + column as f64 * (TILE[0] + GAP[0]), top + GAP[1] + row as f64 * (TILE[1] + GAP[1])]
        }));
        bands.push((top, height, first));
        top += height + 4.0;
        first += count;
    }
    let size = format!("0 0 {} {}", px(WIDTH), px(top));
    let mut svg = el("svg").class("overview").attr("viewBox", size).attr("role", "img");
    for (top, height, first) in bands {
        let block = &page.blocks[first];
        let rect = el("rect")
            .attr("x", 0)
            .attr("y", px(top))
            .attr("width", px(WIDTH))
            .attr("height", px(height))
            .attr("rx", 6);
        let shape = page.blocks[first..]
            .iter()
            .take_while(|b| b.stage == block.stage)
            .filter_map(|b| shape_of(graph, b))
            .last();
        svg = svg
            .add(rect.class("band"))
            .add(text("text", clipped(&block.stage, 20)).attr("x", 12).attr("y", px(top + 34.0)).class("stage"))
            .add(text("text", shape.unwrap_or_default()).attr("x", 12).attr("y", px(top + 52.0)).class("small"));
    }
    for &(from, to) in &page.edges {
        svg = svg.add(el("path").attr("d", line(corners[from], corners[to])));
    }
    let most = page.blocks.iter().map(|b| macs(graph, b)).max().unwrap_or(0).max(1);
    svg.all(page.blocks.iter().zip(&corners).enumerate().map(|(i, (block, &[x, y]))| {
        let work = macs(graph, block);
        let title = format!("{}: {}, {} MACs", block.names.join(", "), count(block.nodes.len(), "operator"), si(work));
        let rect =
            el("rect").attr("x", px(x)).attr("y", px(y)).attr("width", TILE[0]).attr("height", TILE[1]).attr("rx", 5);
        let heat = format!("fill-opacity:{:.2}", 0.45 * work as f64 / most as f64);
        let at = |dx: f64, dy: f64, what: Element| what.attr("x", px(x + dx)).attr("y", px(y + dy));
        el("a")
            .attr("href", format!("#block-{i}"))
            .add(text("title", title))
            .add(rect.clone().class("tile"))
            .add(rect.class("heat").attr("style", heat))
            .add(at(8.0, 16.0, text("text", clipped(&block.label(), 15))))
            .add(at(8.0, 30.0, text("text", brief(block.nodes.len(), work)).class("small")))
            .all(ops_bar(graph, block, [x + 8.0, y + 34.0], TILE[0] - 16.0))
    }))
}

/// A bar of the block's operators by kind.
fn ops_bar(graph: &Graph, block: &Block, [x, y]: [f64; 2], width: f64) -> Vec<Element> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for &id in &block.nodes {
        let class = kind(&graph.node(id).op);
        *counts.entry(KINDS.iter().position(|(c, _)| *c == class).unwrap_or(0)).or_default() += 1;
    }
    let unit = width / block.nodes.len().max(1) as f64;
    let mut at = x;
    let part = |(index, count): (usize, usize)| {
        let w = unit * count as f64;
        at += w;
        let rect = el("rect").attr("x", px(at - w)).attr("y", px(y)).attr("width", px(w)).attr("height", 3);
        rect.class(KINDS[index].0)
    };
    counts.into_iter().map(part).collect()
}

/// A line from one tile to another.
fn line([x, y]: [f64; 2], [to_x, to_y]: [f64; 2]) -> String {
    let [w, h] = TILE;
    let (middle, to_middle) = (x + w / 2.0, to_x + w / 2.0);
    if y == to_y && to_x > x && to_x - x - w <= GAP[0] + 0.1 {
        return format!("M{} {}H{}", px(x + w), px(y + h / 2.0), px(to_x));
    }
    if y == to_y {
        // Past the tiles between: forwards above them, backwards below.
        let (edge, over) = if to_x > x { (y, y - GAP[1] / 2.0) } else { (y + h, y + h + GAP[1] / 2.0) };
        let side = if to_x > x { 14.0 } else { -14.0 };
        let (from, to) = (middle + side, to_middle - side);
        return format!("M{} {}V{}H{}V{}", px(from), px(edge), px(over), px(to), px(edge));
    }
    let gap = to_y - GAP[1] / 2.0;
    if to_y > y && to_y - y < 2.0 * (h + GAP[1]) {
        return format!("M{} {}V{}H{}V{}", px(middle), px(y + h), px(gap), px(to_middle), px(to_y));
    }
    // Into a row further away: through the gap beside the tile that makes it.
    let out = x + w + GAP[0] / 2.0;
    format!("M{} {}H{}V{}H{}V{}", px(x + w), px(y + h / 2.0), px(out), px(gap), px(to_middle), px(to_y))
}

/// The operators of one block, folded away.
fn operators(page: &Page<'_>, graph: &Graph, at: usize) -> Element {
    let block = &page.blocks[at];
    let read_elsewhere = |v: Value| {
        graph.outputs.iter().any(|o| o.value == v)
            || page.readers.get(&v).is_some_and(|r| r.iter().any(|id| block.nodes.binary_search(id).is_err()))
    };
    let work = macs(graph, block);
    let mut summary = el("summary").add(text("b", block.names.join(", ")));
    summary = summary.add(text("span", count(block.nodes.len(), "operator")));
    if work > 0 {
        summary = summary.add(text("span", format!("{} MACs", si(work))));
    }
    summary = summary.all(shape_of(graph, block).map(|s| text("span", s)));
    let ends = |nodes: Vec<usize>, word: &str| {
        let links =
            nodes.into_iter().map(|i| text("a", page.blocks[i].names.join(", ")).attr("href", format!("#block-{i}")));
        let links: Vec<Element> = links.collect();
        (!links.is_empty()).then(|| el("span").text(word).all(links))
    };
    let pairs = &page.edges;
    let before = ends(pairs.iter().filter(|(_, to)| *to == at).map(|(from, _)| *from).collect(), "reads ");
    let after = ends(pairs.iter().filter(|(from, _)| *from == at).map(|(_, to)| *to).collect(), "read by ");
    let head = ["operator", "path", "", "result", "constants", "MACs", "max |x|"].map(|name| text("span", name));
    let rows = block.nodes.iter().map(|&id| row(page, graph, block, id));
    let flow = el("div")
        .class("flow")
        .add(lanes(graph, &block.nodes, &read_elsewhere))
        .add(el("div").class("ops").add(el("div").class("op head").all(head)).all(rows));
    el("details")
        .class("block")
        .attr("id", format!("block-{at}"))
        .add(summary)
        .add(el("p").class("ends").all(before).all(after))
        .add(flow)
}

/// One operator.
fn row(page: &Page<'_>, graph: &Graph, block: &Block, id: NodeId) -> Element {
    let node = graph.node(id);
    let inside = block.names.iter().find_map(|n| node.path.strip_prefix(n.as_str())).map(|p| p.trim_start_matches('.'));
    let name = inside.filter(|p| !p.is_empty()).unwrap_or(&node.path);
    let attributes = node.op.attributes().join(" ");
    let result = node.types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let constants: Vec<String> =
        node.inputs.iter().filter(|&&v| graph.is_stored(v)).map(|&v| graph.shape(v).to_string()).collect();
    let constants = constants.join(" ");
    let work = cost::macs(graph, node);
    let max = page.max_of(id).map(magnitude).unwrap_or_default();
    let wide = page.lowered.precision == DType::F16
        && !matches!(node.op, Op::Cast { .. })
        && node.types.iter().any(|t| t.dtype == DType::F32);
    let cell = |content: &str| text("span", content).attr("title", content);
    let word = text("span", node.op.word()).class(format!("word {}", kind(&node.op)));
    el("div")
        .class(if wide { "op wide" } else { "op" })
        .attr("id", &anchor(id)[1..])
        .add(word)
        .add(text("span", name).attr("title", &node.path))
        .add(cell(&attributes))
        .add(cell(&result))
        .add(cell(&constants))
        .add(text("span", if work > 0 { si(work) } else { String::new() }).class("n"))
        .add(text("span", max).class("n"))
}

/// `12 ops, 58.6 M`; no figure where nothing is multiplied.
fn brief(operators: usize, macs: u64) -> String {
    let ops = count(operators, "op");
    if macs > 0 { format!("{ops}, {}", si(macs)) } else { ops }
}

fn macs(graph: &Graph, block: &Block) -> u64 {
    block.nodes.iter().map(|&id| cost::macs(graph, graph.node(id))).sum()
}

/// Shape of the block's last result, batch left out.
fn shape_of(graph: &Graph, block: &Block) -> Option<String> {
    let node = graph.node(*block.nodes.last()?);
    let dims = node.types.first()?.shape.0.iter().skip(1).map(ToString::to_string);
    Some(dims.collect::<Vec<_>>().join("x"))
}

/// A text of at most `most` characters.
fn clipped(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most { text.to_string() } else { text.chars().take(most - 1).chain(['…']).collect() }
}
