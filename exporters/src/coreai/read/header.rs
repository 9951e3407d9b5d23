//! What a graph of the program says about itself.

use super::attributes::Attribute;
use super::container::{Container, Operation, region};

/// What a graph says about itself.
pub(super) struct Header<'a> {
    pub(super) name: &'a str,
    pub(super) private: bool,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    /// Name, input names and settings of a composite.
    pub(super) declared: Option<Attribute<'a>>,
    pub(super) operation: Operation<'a>,
}

impl<'a> Header<'a> {
    pub(super) fn read(container: &Container<'a>, operation: Operation<'a>) -> Result<Header<'a>, String> {
        if container.name(&operation)? != "dataflow.graph_v1" {
            return Err(format!("holds {} beside its graphs", container.name(&operation)?));
        }
        // In alphabetical order: argument names, declaration, …, type, private, name, …, result names.
        let mut fields = container.properties(&operation)?;
        let inputs = names(&container.attribute(fields.varint()?)?)?;
        let declared = match fields.flagged()? {
            (number, true) => Some(container.attribute(number)?),
            (_, false) => None,
        };
        let _externalize = fields.varint()?;
        let Attribute::Type(ty) = container.attribute(fields.varint()?)? else {
            return Err("a graph has no type".into());
        };
        let private = container.attribute(fields.varint()?)? == Attribute::Integer(1);
        let Attribute::Text(name) = container.attribute(fields.varint()?)? else {
            return Err("a graph has no name".into());
        };
        let (_no_inline, _parameters) = (fields.varint()?, fields.varint()?);
        let outputs = names(&container.attribute(fields.varint()?)?)?;
        let [results, operands] = container.function(ty)?;
        let block = region(&operation)?;
        if block.arguments != operands || inputs.len() != operands.len() || outputs.len() != results.len() {
            return Err(format!("the graph {name} has other inputs or outputs than its type"));
        }
        Ok(Header { name, private, inputs, outputs, declared, operation })
    }
}

/// The name of each argument or result; empty where there is none.
fn names<'a>(attribute: &Attribute<'a>) -> Result<Vec<&'a str>, String> {
    let Attribute::List(ports) = attribute else { return Err("names are no list".into()) };
    let name = |port: &Attribute<'a>| {
        let Attribute::List(entries) = port else { return Err("the entries of a port are no list".to_string()) };
        let named = entries.iter().find_map(|e| match e {
            Attribute::Named("aicode.name", values) => match values[..] {
                [Attribute::Text(text)] => Some(text),
                _ => None,
            },
            _ => None,
        });
        Ok(named.unwrap_or_default())
    };
    ports.iter().map(name).collect()
}
