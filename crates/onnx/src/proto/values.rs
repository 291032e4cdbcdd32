//! What the messages say: numbers, attributes and types, whichever field has them.

use super::{
    AttributeProto, DataType, DimensionProto, DimensionValue, NodeProto, TensorProto, TensorType,
    TypeValue, ValueInfoProto,
};

impl TensorProto {
    /// Returns the elements of an `int64` tensor; `None` if it is of another type or stored
    /// elsewhere.
    pub(crate) fn int64_values(&self) -> Option<Vec<i64>> {
        if self.data_type != Some(DataType::Int64 as i32) {
            return None;
        }
        Some(match &self.raw_data {
            Some(raw) => raw
                .chunks_exact(8)
                .map(|bytes| i64::from_le_bytes(bytes.try_into().expect("chunks of 8 bytes")))
                .collect(),
            None => self.int64_data.clone(),
        })
    }

    /// Returns the elements of a `float` tensor; `None` if it is of another type or stored
    /// elsewhere.
    pub(crate) fn float_values(&self) -> Option<Vec<f32>> {
        if self.data_type != Some(DataType::Float as i32) {
            return None;
        }
        Some(match &self.raw_data {
            Some(raw) => raw
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("chunks of 4 bytes")))
                .collect(),
            None => self.float_data.clone(),
        })
    }
}

impl NodeProto {
    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute
            .iter()
            .find(|attribute| attribute.name.as_deref() == Some(name))
    }

    /// Returns an integer attribute.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.i
    }

    /// Returns a list-of-integers attribute.
    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        Some(&self.attribute(name)?.ints)
    }

    /// Returns a text attribute.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.attribute(name)?.s.as_deref()?).ok()
    }

    /// Returns a tensor attribute.
    pub(crate) fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.attribute(name)?.t.as_ref()
    }
}

impl ValueInfoProto {
    /// Returns the tensor type; `None` if the value is of another kind or untyped.
    pub(crate) fn tensor_type(&self) -> Option<&TensorType> {
        match self.r#type.as_ref()?.value.as_ref()? {
            TypeValue::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
}

impl DimensionProto {
    /// Returns the size, if the file fixes it.
    pub(crate) fn fixed(&self) -> Option<i64> {
        match self.value {
            Some(DimensionValue::Value(size)) => Some(size),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prost::Message;

    use super::*;
    use crate::proto::ModelProto;

    /// Other writers put fields in the order of their numbers too, so a file that was fully
    /// understood is written as it was read, byte for byte.
    #[test]
    fn a_file_of_another_writer_is_written_as_it_was_read() {
        let file = "../../../shared/data/backbones/mobilenet_v2_features.onnx";
        let Ok(bytes) = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)) else {
            println!("absent: {file} is not here");
            return;
        };
        let model = ModelProto::decode(bytes.as_slice()).expect("a model");
        assert!(model.encode_to_vec() == bytes);
    }

    #[test]
    fn numbers_are_read_from_either_field() {
        let typed = TensorProto {
            data_type: Some(DataType::Int64 as i32),
            int64_data: vec![1, -2],
            ..Default::default()
        };
        assert_eq!(typed.int64_values(), Some(vec![1, -2]));
        let raw = TensorProto {
            data_type: Some(DataType::Float as i32),
            raw_data: Some(
                [1.5_f32, -2.0]
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .collect(),
            ),
            ..Default::default()
        };
        assert_eq!(raw.float_values(), Some(vec![1.5, -2.0]));
        assert_eq!(raw.int64_values(), None);
    }
}
