//! The published names of a flow's parameters, and the flow that they form.
//!
//! Both published implementations keep their coupling blocks in a list of a graph's nodes, in which
//! permutations lie between the blocks:
//!
//! ```text
//! the original   module_list.{4 + 2 block}.{s1|s2}.{conv_scale0_0.weight | … | gamma0 | …}
//! anomalib       …module_list.{1 + 2 block}.{cross_convolution1|cross_convolution2}.{the same}
//! ```
//! Number of blocks, channels, hidden channels and kernels follow from names and shapes. Clamp and
//! permutations are not in any file: the clamp has to be known, the permutations are drawn again.

use std::collections::BTreeSet;

use flawd_core::flow::{FlowSpec, SCALES, SubnetLayout};
use flawd_core::manifest::Implementation;
use flawd_core::permutation::PermutationKind;

use crate::error::CheckpointError;
use crate::tensors::TensorFile;

/// More channels, hidden channels, or a larger kernel than any flow has: beyond, a shape is taken
/// for damage, so that no product of sizes overflows.
const LARGEST: usize = 1 << 14;

/// The name of the list that holds the blocks.
const LIST: &str = "module_list.";

/// How an implementation names the parts of a flow.
struct Names {
    implementation: Implementation,
    /// Index of the first block in the list; the others follow in steps of 2.
    first: usize,
    /// The subnets that are `s1` and `s2` here.
    subnets: [&'static str; 2],
    permutation: PermutationKind,
}

const PUBLISHED: [Names; 2] = [
    Names {
        implementation: Implementation::CsFlow,
        first: 4,
        subnets: ["s1", "s2"],
        permutation: PermutationKind::NumpyLegacy,
    },
    Names {
        implementation: Implementation::Anomalib,
        first: 1,
        subnets: ["cross_convolution1", "cross_convolution2"],
        permutation: PermutationKind::NumpyPcg64,
    },
];

/// A flow that was found among the names of a file.
pub(crate) struct Found {
    names: &'static Names,
    /// The prefix of the name of the list.
    prefix: String,
    blocks: usize,
}

/// A flow's shape and parameters.
pub(crate) struct ReadFlow {
    pub(crate) spec: FlowSpec,
    /// Laid out as in [`FlowSpec::layout`].
    pub(crate) parameters: Vec<f32>,
}

/// Returns the parts of a name that say where it belongs: `prefix`, index in the list, subnet.
fn dissect(name: &str) -> Option<(&str, usize, &str)> {
    let at = name.find(LIST)?;
    let (prefix, rest) = name.split_at(at);
    if !prefix.is_empty() && !prefix.ends_with('.') {
        return None;
    }
    let mut parts = rest[LIST.len()..].splitn(3, '.');
    let place = parts.next()?.parse().ok()?;
    Some((prefix, place, parts.next()?))
}

impl Found {
    /// Finds the flow in a file.
    pub(crate) fn locate(file: &TensorFile) -> Result<Self, CheckpointError> {
        let mut found: Option<(&Names, &str)> = None;
        let mut places = BTreeSet::new();
        for name in file.names() {
            let Some((prefix, place, subnet)) = dissect(name) else {
                continue;
            };
            let Some(names) = PUBLISHED
                .iter()
                .find(|names| names.subnets.contains(&subnet))
            else {
                continue;
            };
            let (first, its_prefix) = *found.get_or_insert((names, prefix));
            if first.implementation != names.implementation || its_prefix != prefix {
                return Err(CheckpointError::TwoFlows {
                    path: file.path().to_owned(),
                    key: name.to_owned(),
                });
            }
            // Anything else in the list is recognised as foreign when the flow is read.
            if place >= names.first && (place - names.first).is_multiple_of(2) {
                places.insert(place);
            }
        }
        match found {
            Some((names, prefix)) => Ok(Self {
                names,
                prefix: prefix.to_owned(),
                blocks: places.len(),
            }),
            None => Err(CheckpointError::NoFlow {
                path: file.path().to_owned(),
                found: (file.names().next())
                    .map_or_else(|| "missing too".to_owned(), |name| format!("`{name}`")),
            }),
        }
    }

    pub(crate) fn implementation(&self) -> Implementation {
        self.names.implementation
    }

    /// Returns the prefix of the name of the list of blocks.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns `true` if a name is below the list of blocks.
    pub(crate) fn holds(&self, name: &str) -> bool {
        name.strip_prefix(&self.prefix)
            .is_some_and(|rest| rest.starts_with(LIST))
    }

    /// Reads shape and parameters, and checks that the list holds nothing else.
    pub(crate) fn read(&self, file: &TensorFile, clamp: f32) -> Result<ReadFlow, CheckpointError> {
        let spec = self.spec(file, clamp)?;
        let tensors = self.tensors(&spec);
        for (key, expected) in &tensors {
            let found = file.shape(key)?;
            if found != expected {
                return Err(CheckpointError::Shape {
                    path: file.path().to_owned(),
                    key: key.clone(),
                    expected: expected.clone(),
                    found: found.to_owned(),
                });
            }
        }
        let known: BTreeSet<&str> = tensors.iter().map(|(key, _)| key.as_str()).collect();
        let foreign = |name: &&str| self.holds(name) && !known.contains(name);
        if let Some(key) = file.names().find(foreign) {
            return Err(CheckpointError::Foreign {
                path: file.path().to_owned(),
                key: key.to_owned(),
            });
        }
        // `tensors` is in the order of the layout, so the parameters only have to be joined.
        let mut parameters = Vec::new();
        for (key, _) in &tensors {
            parameters.extend(file.read(key)?);
        }
        assert_eq!(parameters.len(), spec.layout().len, "all shapes fit");
        Ok(ReadFlow { spec, parameters })
    }

    fn key(&self, block: usize, subnet: usize, tensor: &str) -> String {
        let place = self.names.first + 2 * block;
        let subnet = self.names.subnets[subnet];
        format!("{}{LIST}{place}.{subnet}.{tensor}", self.prefix)
    }

    /// Returns the shape of the flow, from the first convolutions of its subnets.
    fn spec(&self, file: &TensorFile, clamp: f32) -> Result<FlowSpec, CheckpointError> {
        let first_convolution = |block, subnet| {
            let key = self.key(block, subnet, "conv_scale0_0.weight");
            match *file.shape(&key)? {
                [hidden, input, kernel, other]
                    if kernel == other && [hidden, input, kernel].iter().all(|&n| n <= LARGEST) =>
                {
                    Ok((hidden, input, kernel))
                }
                ref found => Err(CheckpointError::NoConvolution {
                    path: file.path().to_owned(),
                    key,
                    found: found.to_owned(),
                }),
            }
        };
        let (hidden, first, _) = first_convolution(0, 0)?;
        let (_, second, _) = first_convolution(0, 1)?;
        let mut kernels = Vec::new();
        for block in 0..self.blocks {
            kernels.push(first_convolution(block, 0)?.2);
        }
        let spec = FlowSpec {
            channels: first + second,
            hidden,
            kernels,
            clamp,
            permutation: self.names.permutation,
            scales: SCALES,
            cross_scale: true,
        };
        spec.validate().map_err(|source| CheckpointError::Spec {
            path: file.path().to_owned(),
            source,
        })?;
        Ok(spec)
    }

    /// Returns the name and shape of every tensor, in the order of the layout.
    fn tensors(&self, spec: &FlowSpec) -> Vec<(String, Vec<usize>)> {
        let layout = spec.layout();
        let subnets = layout.blocks.iter().enumerate();
        let subnets = subnets
            .flat_map(|(block, layout)| [(block, 0, &layout.s1), (block, 1, &layout.s2)])
            .flat_map(|(block, subnet, layout)| {
                subnet_tensors(layout).map(move |(name, shape)| (block, subnet, name, shape))
            });
        subnets
            .map(|(block, subnet, name, shape)| (self.key(block, subnet, &name), shape))
            .collect()
    }
}

/// Returns the tensors of a subnet under their own names, in the order of the layout.
fn subnet_tensors(layout: &SubnetLayout) -> impl Iterator<Item = (String, Vec<usize>)> {
    let gains = (0..SCALES).map(|scale| (format!("gamma{scale}"), vec![1]));
    let convolutions = layout.convolutions().into_iter().map(|(name, conv)| {
        let kernel = conv.kernel;
        let weight = vec![conv.output, conv.input, kernel, kernel];
        [
            (format!("{name}.weight"), weight),
            (format!("{name}.bias"), vec![conv.output]),
        ]
    });
    gains.chain(convolutions.flatten())
}
