//! Private graphs that systems know by name and replace by their own; elsewhere their bodies run.

use super::builder::{Arithmetic, Builder, Reduction};
use super::dialect::OperationName;
use super::program::{Composite, Element, GraphOperation, Id, Setting, Tensor};

/// The composites of a program: one for each operation and type.
#[derive(Debug, Default)]
pub(super) struct Composites {
    pub(super) graphs: Vec<GraphOperation>,
}

/// Version of every composite.
const VERSION: (&str, Setting) = ("version", Setting::Integer(1));

impl Composites {
    /// The graph of this declaration for arguments of these types; made by `body` if there is none yet. Its name.
    fn graph(
        &mut self,
        composite: Composite,
        arguments: Vec<Tensor>,
        body: impl FnOnce(&mut Builder, &[Id]) -> Id,
    ) -> String {
        let known =
            self.graphs.iter().find(|g| g.composite.as_ref() == Some(&composite) && g.region.arguments == arguments);
        if let Some(known) = known {
            return known.name.clone();
        }
        let same = self.graphs.iter().filter(|g| g.composite.as_ref().is_some_and(|c| c.name == composite.name));
        let name = format!("{}_{}", composite.name, same.count() + 1);
        let input_names = composite.inputs.iter().map(|s| s.to_string()).collect();
        let mut builder = Builder::new(arguments);
        let parameters = builder.parameters();
        let result = body(&mut builder, &parameters);
        let region = builder.finish(OperationName::Output, &[result]);
        let outputs = vec![(String::new(), result)];
        self.graphs.push(GraphOperation {
            name: name.clone(),
            region,
            input_names,
            outputs,
            composite: Some(composite),
        });
        name
    }

    /// `(x − mean)/√(var + ε)·γ + β` over the last `count` axes; half precision computes the norm in f32.
    pub(super) fn layer_norm(&mut self, x: &Tensor, count: usize, eps: f32) -> String {
        let axes: Vec<usize> = (x.rank() - count..x.rank()).collect();
        let affine = Tensor::new(x.element, &x.dims[x.rank() - count..]);
        // Counted from the last, so that they are the trailing ones for any number of axes in front.
        let trailing = (1..=count as i64).rev().map(|i| -i).collect();
        let composite = Composite {
            name: "layer_norm",
            inputs: vec!["input", "gamma", "beta"],
            settings: vec![("axes", Setting::Integers(trailing)), ("eps", Setting::Float(eps)), VERSION],
            outputs: vec!["output"],
        };
        let element = x.element;
        self.graph(composite, vec![x.clone(), affine.clone(), affine], |b, arguments| {
            let half = element == Element::F16;
            let wide = if half { b.cast(arguments[0], Element::F32) } else { arguments[0] };
            let mean = b.reduce(Reduction::Mean, wide, &axes);
            let centred = b.arithmetic(Arithmetic::Sub, wide, mean);
            let square = b.arithmetic(Arithmetic::Mul, centred, centred);
            let variance = b.reduce(Reduction::Mean, square, &axes);
            let eps = b.scalar(Element::F32, f64::from(eps));
            let above = b.arithmetic(Arithmetic::Add, variance, eps);
            let factor = b.unary(OperationName::Rsqrt, above);
            let normal = b.arithmetic(Arithmetic::Mul, centred, factor);
            let normal = if half { b.cast(normal, element) } else { normal };
            let scaled = b.arithmetic(Arithmetic::Mul, normal, arguments[1]);
            b.arithmetic(Arithmetic::Add, scaled, arguments[2])
        })
    }

    /// `softmax(scale·q·kᵀ + mask)·v` on `[B,H,N,d]`; `types` are those of q, k, v and, if there is one, the mask.
    pub(super) fn attention(&mut self, types: &[Tensor], result: &Tensor, scale: f32) -> String {
        let mut inputs = vec!["query", "key", "value"];
        inputs.extend((types.len() > 3).then_some("attn_mask"));
        let composite = Composite {
            name: "scaled_dot_product_attention",
            inputs,
            settings: vec![
                ("is_causal", Setting::Flag(false)),
                ("scale", Setting::Float(scale)),
                VERSION,
                ("window_size", Setting::Integer(-1)),
            ],
            outputs: vec!["output"],
        };
        let element = result.element;
        self.graph(composite, types.to_vec(), |b, arguments| {
            let scale = b.scalar(element, f64::from(scale));
            let q = b.arithmetic(Arithmetic::Mul, arguments[0], scale);
            let k = b.transpose(arguments[1], &[0, 1, 3, 2]);
            let mut scores = b.matmul(q, k);
            if let Some(&mask) = arguments.get(3) {
                scores = b.arithmetic(Arithmetic::Add, scores, mask);
            }
            let weights = b.softmax(scores, 3);
            b.matmul(weights, arguments[2])
        })
    }
}
