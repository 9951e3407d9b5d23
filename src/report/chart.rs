//! A figure for each value of the model, in the model's order, on a logarithmic scale.

use super::html::{Element, el, text};

/// One dot.
pub(super) struct Dot<'p> {
    /// Where it leads.
    pub(super) link: String,
    /// Said when pointed at.
    pub(super) title: String,
    /// Stage: dots of one stage stand on one band.
    pub(super) stage: &'p str,
    /// The figure; 0 stands at the bottom, what is not finite at the top.
    pub(super) figure: f64,
    /// Colour.
    pub(super) class: &'static str,
}

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 250.0;
/// Room for the scale, at the left, and for the stages, below.
const LEFT: f64 = 62.0;
const BELOW: f64 = 26.0;
const ABOVE: f64 = 10.0;

/// Dots from left to right, over decades from `least` to `most`, with a line at `limit` and its name on it.
pub(super) fn chart(dots: &[Dot<'_>], [least, most]: [i32; 2], limit: f64, name: &str) -> Element {
    let step = (WIDTH - LEFT - 8.0) / dots.len().max(1) as f64;
    let x = |i: f64| LEFT + i * step;
    let y = |figure: f64| {
        let decade = if figure.is_finite() { figure.log10() } else { f64::from(most) };
        let share = (decade - f64::from(least)) / f64::from(most - least);
        ABOVE + (1.0 - share.clamp(0.0, 1.0)) * (HEIGHT - ABOVE - BELOW)
    };
    let mut svg = el("svg").class("chart").attr("viewBox", format!("0 0 {WIDTH} {HEIGHT}")).attr("role", "img");

    let mut start = 0;
    let mut label_end = 0.0;
    for band in 0.. {
        let Some(first) = dots.get(start) else { break };
        let count = dots[start..].iter().take_while(|d| d.stage == first.stage).count();
        let (from, to) = (x(start as f64), x((start + count) as f64));
        if band % 2 == 0 {
            let rect = el("rect").attr("x", px(from)).attr("y", ABOVE).attr("width", px(to - from));
            svg = svg.add(rect.attr("height", HEIGHT - ABOVE - BELOW).class("band"));
        }
        // A label stands where there is room for it: about eight units a letter.
        let width = 8.0 * first.stage.chars().count() as f64;
        let at = (from + to - width) / 2.0;
        if at >= label_end && at + width <= WIDTH {
            svg = svg.add(text("text", first.stage).attr("x", px(at)).attr("y", HEIGHT - 8.0));
            label_end = at + width + 8.0;
        }
        start += count;
    }
    let decades = most - least;
    for decade in (least..=most).filter(|d| decades <= 8 || (d - least) % 2 == 0) {
        let at = px(y(10f64.powi(decade)));
        svg = svg
            .add(el("line").attr("x1", LEFT).attr("x2", WIDTH - 8.0).attr("y1", &at).attr("y2", &at).class("grid"))
            .add(
                text("text", format!("1e{decade}"))
                    .attr("x", LEFT - 8.0)
                    .attr("y", px(y(10f64.powi(decade)) + 4.0))
                    .class("scale"),
            );
    }
    let at = y(limit);
    svg = svg
        .add(el("line").attr("x1", LEFT).attr("x2", WIDTH - 8.0).attr("y1", px(at)).attr("y2", px(at)).class("limit"))
        .add(text("text", name).attr("x", LEFT + 6.0).attr("y", px(at - 5.0)).class("limit"));
    svg.all(dots.iter().enumerate().map(|(i, dot)| {
        let circle = el("circle").attr("cx", px(x(i as f64 + 0.5))).attr("cy", px(y(dot.figure))).attr("r", 3);
        el("a").attr("href", &dot.link).add(circle.class(dot.class).add(text("title", &dot.title)))
    }))
}

/// A coordinate in tenths, so that equal figures are equal text.
pub(super) fn px(at: f64) -> String {
    format!("{at:.1}")
}
