//! Element types in a program.

use crate::coreml::messages::DataType;
use vitc_ir::DType;

/// Element type in a program.
pub(super) fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float32,
        DType::F16 => DataType::Float16,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::I8 => DataType::Int8,
        DType::U8 => DataType::Uint8,
        DType::I4 => DataType::Int4,
        DType::U4 => DataType::Uint4,
        DType::Bool => DataType::Bool,
    }
}
