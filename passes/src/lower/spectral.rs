//! Spell spectral transforms of maps as products with constant matrices.
//!
//! ```text
//! Given    z = rfft2(x)      x […,H,W]
//! Result   separable         z = F_H·(x·F_W), two products       dense     z = x·(F_H ⊗ F_W), one product over H·W
//! Given    dct2, idct2       the same with the orthonormal bases
//! Given    irfft2(re, im) of what maps both parts of an rfft2 alike: f(re), f(im); complex-linear channel mixes; products of spectra
//! Result   the same on one value that holds both parts
//! Given    dct2(W·x + b), W a 1x1 convolution       Result   the product from the left, where the target mixes channels so
//! ```
//!
//! A spectrum is one value `[…,2H,K]`, all rows of the real part in front of all rows of the imaginary one. With channels in front that is also
//! `[B,2C,H,K]` with channel 2c + part, so a complex channel mix is one real one, and nothing is ever transposed ([`bases`], [`pairs`]).
//!
//! All products are orthonormal. What another normalisation differs by is a factor that its spectrum bears ([`pairs`]): biases and thresholds on
//! the way are divided by it, and what forward and back leave of each other multiplies the result. So f16 never holds a spectrum that
//! grows with the map, unless the model computes something of its elements that is not proportional to them.
//!
//! Exact    by the definition of the transforms; the bases are rounded once. [`choice`] picks the form.

mod bases;
mod choice;
mod pairs;
mod views;

use crate::algebra::Linear;
use crate::pass::{Context, Pass, Result, Rewritten};
use choice::{Forms, Kind, Site};
use pairs::{Pairs, Spectrum};
use std::collections::HashSet;
use views::{flat, scaled, view, with_tail};
use vitc_ir::target::MixForm;
use vitc_ir::{BinaryKind, Builder, Built, Copier, Graph, NodeId, Op, Shape, Target, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("lower_spectral", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let forms = Forms::choose(graph, target, options);
    let mut copy = Copier::new(graph, graph.stage);
    let mut pairs = Pairs::new(target.spectral);
    let mut count = 0;
    let projections = projections(graph, target);
    for (id, node) in graph.nodes() {
        if projections.contains(&id) {
            let inputs = copy.inputs(id)?;
            let y = left_product(&mut Builder::within(&mut copy.new, &node.path), &inputs)?;
            copy.set(id.into(), y);
            continue;
        }
        let Some(site) = Site::of(graph, node).filter(|_| !graph.is_constant(id.into())) else {
            copy.node(id)?;
            continue;
        };
        let dense = forms.is_dense(&site);
        let inputs = copy.inputs(id)?;
        let result = graph.shape(id.into()).clone();
        match node.op {
            Op::Rfft2 { norm } => {
                let multiple = if dense { 1 } else { target.spectral.column_multiple };
                let columns = (site.grid[1] / 2 + 1).next_multiple_of(multiple);
                let mut net = Builder::within(&mut copy.new, &node.path);
                let spectrum = forward(&mut net, inputs[0], &site, columns, dense)?;
                let parts = pairs.register(&mut net, spectrum, &site, bases::factor(&site, norm, false))?;
                copy.set(Value { node: id, index: 0 }, parts[0]);
                copy.set(Value { node: id, index: 1 }, parts[1]);
            }
            Op::Irfft2 { norm, .. } => {
                let mut spectrum = pairs.joined(&mut copy.new, [inputs[0], inputs[1]])?;
                let mut net = Builder::within(&mut copy.new, &node.path);
                // What is left of both normalisations stands where it makes the smaller values.
                let factor = spectrum.factor * bases::factor(&site, norm, true);
                if factor < 1.0 {
                    spectrum.value = scaled(&mut net, spectrum.value, factor)?;
                }
                let mut y = backward(&mut net, spectrum, &site, dense, result)?;
                if factor > 1.0 {
                    y = scaled(&mut net, y, factor)?;
                }
                copy.set(id.into(), y);
            }
            _ => {
                let inverse = node.op == Op::Idct2;
                let y = cosine(&mut Builder::within(&mut copy.new, &node.path), inputs[0], &site, dense, inverse)?;
                copy.set(id.into(), y);
            }
        }
        count += 1;
    }
    Ok(Rewritten { graph: copy.finish()?, count, notes: forms.notes })
}

/// The 1x1 convolutions that only a transform reads, where the target multiplies channels from the left: its kernel then writes the
/// order that the transform reads.
fn projections(graph: &Graph, target: &Target) -> HashSet<NodeId> {
    if target.spectral.mix != MixForm::BlockDiagonal {
        return HashSet::new();
    }
    let uses = graph.uses();
    let transforms = graph.run_time_nodes().filter(|(_, n)| matches!(n.op, Op::Rfft2 { .. } | Op::Dct2));
    let read = transforms.map(|(_, n)| n.inputs[0]).filter(|v| uses.once(*v));
    let pointwise = |v: &Value| {
        Linear::of(graph, v.node).is_some_and(|l| {
            l.op == Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 }
                && graph.shape(l.w).0[2..] == Shape::fixed(&[1, 1]).0
        })
    };
    read.filter(pointwise).map(|v| v.node).collect()
}

/// `W·x + b` of a 1x1 convolution's operands, as a product with `[B,C,HW]`.
fn left_product(net: &mut Builder, inputs: &[Value]) -> Built {
    let (x, w) = (net.ty(inputs[0]).shape.clone(), net.ty(inputs[1]).shape.clone());
    let (outputs, channels, positions) = (w.dim(0), w.dim(1), x.dim(2) * x.dim(3));
    let matrix = net.reshape("matrix", inputs[1], Shape::fixed(&[outputs, channels]))?;
    let flat = net.reshape("positions", inputs[0], Shape::batched(x.0[0], &[channels, positions]))?;
    let mut y = net.matmul("product", matrix, flat)?;
    if let Some(&bias) = inputs.get(2) {
        let offset = net.reshape("offset", bias, Shape::fixed(&[outputs, 1]))?;
        y = net.binary("biased", BinaryKind::Add, y, offset)?;
    }
    net.reshape("", y, Shape::batched(x.0[0], &[outputs, x.dim(2), x.dim(3)]))
}

/// The orthonormal spectrum `[…,2H,columns]` of `x` `[…,H,W]`; columns after W/2+1 are zero.
fn forward(net: &mut Builder, x: Value, site: &Site, columns: usize, dense: bool) -> Built {
    let ([h, w], shape) = (site.grid, net.ty(x).shape.clone());
    let lead = shape.rank() - 2;
    if dense {
        let basis = bases::dft_dense(net, site.grid)?;
        let rows = view(net, "positions", x, flat(&shape, lead, h * w))?;
        let z = net.matmul("product", rows, basis)?;
        return view(net, "spectrum", z, with_tail(&shape, lead, &[2 * h, columns]));
    }
    let basis = bases::dft_columns(net, w, columns)?;
    let rows = net.matmul("columns", x, basis)?;
    // Rows of real and imaginary parts alternate from here: a view.
    let rows = net.reshape("parts", rows, with_tail(&shape, lead, &[2 * h, columns]))?;
    let basis = bases::dft_rows(net, h)?;
    net.matmul("rows", basis, rows)
}

/// The map `result` of an orthonormal spectrum: the inverse of [`forward`] for spectra of real maps.
fn backward(net: &mut Builder, spectrum: Spectrum, site: &Site, dense: bool, result: Shape) -> Built {
    let ([h, w], lead) = (site.grid, result.rank() - 2);
    let (z, columns, outer) = (spectrum.value, spectrum.columns, spectrum.outer);
    let parts = if outer { 4 } else { 2 };
    if dense {
        let basis = bases::idft_dense(net, site.grid, columns, outer)?;
        let rows = view(net, "bins", z, flat(&result, lead, parts * h * columns))?;
        let y = net.matmul("product", rows, basis)?;
        return view(net, "map", y, result);
    }
    let basis = bases::idft_rows(net, h, outer)?;
    let z = view(net, "parts", z, with_tail(&result, lead, &[parts * h, columns]))?;
    let rows = net.matmul("rows", basis, z)?;
    let rows = net.reshape("columns_by_part", rows, with_tail(&result, lead, &[h, 2 * columns]))?;
    let basis = bases::idft_columns(net, w, columns)?;
    net.matmul("columns", rows, basis)
}

/// `D_H·x·D_Wᵀ`, or for the inverse `D_Hᵀ·x·D_W`.
fn cosine(net: &mut Builder, x: Value, site: &Site, dense: bool, inverse: bool) -> Built {
    let ([h, w], shape) = (site.grid, net.ty(x).shape.clone());
    if dense {
        let basis = bases::dct_dense(net, site.grid, inverse)?;
        let rows = view(net, "positions", x, flat(&shape, shape.rank() - 2, h * w))?;
        let y = net.matmul("product", rows, basis)?;
        return view(net, "map", y, shape);
    }
    let (left, right) = (bases::dct(net, h, inverse)?, bases::dct(net, w, !inverse)?);
    let y = net.matmul("columns", x, right)?;
    net.matmul("rows", left, y)
}

/// The kinds of transform that share their bases.
impl Site {
    /// The transform that a node is.
    fn of(graph: &Graph, node: &vitc_ir::Node) -> Option<Site> {
        let (kind, map) = match &node.op {
            Op::Rfft2 { .. } => (Kind::Fourier, graph.shape(node.inputs[0])),
            Op::Irfft2 { .. } => (Kind::Fourier, &node.types[0].shape),
            Op::Dct2 | Op::Idct2 => (Kind::Cosine, graph.shape(node.inputs[0])),
            _ => return None,
        };
        let lead = map.rank() - 2;
        Some(Site {
            kind,
            grid: [map.dim(lead), map.dim(lead + 1)],
            inverse: matches!(node.op, Op::Irfft2 { .. } | Op::Idct2),
            lead: Shape(map.0[..lead].to_vec()),
        })
    }
}
