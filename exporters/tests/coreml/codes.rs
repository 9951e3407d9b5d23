//! Values of few bits: every form survives, from the first version on that has it.

use super::few::quantised;
use super::{IOS, emit, same_function};
use vitc_exporters::coreml::{self, Interface};
use vitc_ir::DType;

/// Every form of few bits, from the first version on that has it; versions before are told what they lack.
#[test]
fn quantised_values_survive() {
    for dtype in [DType::F32, DType::F16] {
        for (first, graph) in quantised(dtype) {
            let (least, why) = coreml::minimum_ios(&graph, &Interface::default()).expect("it can be said");
            assert_eq!(least, first, "{}: {why}", graph.name);
            for ios in IOS.into_iter().filter(|&ios| ios >= first) {
                same_function(&graph, &emit(&graph, ios));
            }
        }
    }
}
