//! Against the definition of a convolution, and gradients against the values themselves.

use ndarray::Array4;

use super::*;

fn wave(shape: (usize, usize, usize, usize), speed: f32) -> Maps {
    let mut n = 0.0;
    Array4::from_shape_simple_fn(shape, || {
        n += 1.0;
        (n * speed).sin()
    })
}

fn layout(input: usize, output: usize, kernel: usize) -> (ConvLayout, Vec<f32>) {
    let weights = input * output * kernel * kernel;
    let layout = ConvLayout {
        input,
        output,
        kernel,
        weight: 0..weights,
        bias: weights..weights + output,
    };
    let parameters = (0..weights + output)
        .map(|n| (n as f32 * 0.37).cos())
        .collect();
    (layout, parameters)
}

/// The definition of a convolution, one output at a time.
fn reference(layout: &ConvLayout, parameters: &[f32], input: &Maps, stride: usize) -> Maps {
    let (_, samples, height, width) = input.dim();
    let pad = (layout.kernel / 2) as isize;
    Array4::from_shape_fn(
        (
            layout.output,
            samples,
            height.div_ceil(stride),
            width.div_ceil(stride),
        ),
        |(o, n, y, x)| {
            let mut sum = parameters[layout.bias.start + o];
            for i in 0..layout.input {
                for ky in 0..layout.kernel {
                    for kx in 0..layout.kernel {
                        let iy = (y * stride + ky) as isize - pad;
                        let ix = (x * stride + kx) as isize - pad;
                        if (0..height as isize).contains(&iy) && (0..width as isize).contains(&ix) {
                            let tap =
                                ((o * layout.input + i) * layout.kernel + ky) * layout.kernel + kx;
                            sum += parameters[tap] * input[[i, n, iy as usize, ix as usize]];
                        }
                    }
                }
            }
            sum
        },
    )
}

const CASES: [(usize, usize, usize, usize); 7] = [
    (3, 1, 4, 6),
    (3, 2, 4, 6),
    (5, 1, 3, 3),
    (5, 2, 6, 2),
    (1, 1, 2, 5),
    (5, 1, 1, 2),
    (3, 2, 2, 2),
];

#[test]
fn the_output_equals_the_definition() {
    for (kernel, stride, height, width) in CASES {
        let (layout, parameters) = layout(3, 4, kernel);
        let input = wave((3, 2, height, width), 0.7);
        let output = Convolution::new(&layout, &parameters, stride).apply(input.view());
        let expected = reference(&layout, &parameters, &input, stride);
        assert!(
            (output - expected).iter().all(|d| d.abs() < 1e-4),
            "{kernel} {stride}"
        );
    }
}

/// A convolution is linear in its input and in its parameters, so the gradient of
/// `sum(output * g)` is exact when it reproduces the function's own values.
#[test]
fn the_gradients_are_the_adjoint() {
    for (kernel, stride, height, width) in CASES {
        let (layout, mut parameters) = layout(3, 4, kernel);
        parameters[layout.bias.clone()].fill(0.0);
        let input = wave((3, 2, height, width), 0.7);
        let convolution = Convolution::new(&layout, &parameters, stride);
        let output = convolution.apply(input.view());
        let gradient = wave(output.dim(), 1.3);
        let mut by_parameters = vec![0.0; parameters.len()];
        let mut by_input = Maps::zeros(input.dim());
        convolution.backward(
            input.view(),
            gradient.view(),
            &mut by_parameters,
            Some(by_input.view_mut()),
        );
        let value = (&output * &gradient).sum();
        let through_input = (&input * &by_input).sum();
        let weights = layout.weight.clone();
        let through_weights: f32 = parameters[weights.clone()]
            .iter()
            .zip(&by_parameters[weights])
            .map(|(a, b)| a * b)
            .sum();
        assert!((value - through_input).abs() < 1e-3, "{kernel} {stride}");
        assert!((value - through_weights).abs() < 1e-3, "{kernel} {stride}");
        let bias: f32 = by_parameters[layout.bias.clone()].iter().sum();
        assert!((bias - gradient.sum()).abs() < 1e-3);
    }
}
