//! Operators against naive formulas, transforms against a second library, the stream against whole values.
