//! Medians, and ratios of what was measured in the same turn.

use std::time::Duration;

/// What one thing took, turn by turn.
#[derive(Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1e3);
    }

    /// Milliseconds.
    pub fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// Milliseconds; what the machine can do when nothing else disturbs it.
    pub fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The median of the ratios to `other`, turn by turn: what disturbs a turn
    /// disturbs both sides of it.
    pub fn ratio(&self, other: &Self) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.get(middle.wrapping_sub(1))) {
        (Some(above), Some(below)) if values.len().is_multiple_of(2) => (above + below) / 2.0,
        (Some(only), _) => *only,
        _ => f64::NAN,
    }
}

/// Prints the head of a table.
pub fn head(title: &str, columns: &[&str]) {
    println!("\n{title}\n");
    row(columns);
    row(&vec!["---"; columns.len()]);
}

/// Prints one row of it.
pub fn row<T: AsRef<str>>(cells: &[T]) {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    println!("| {} |", cells.join(" | "));
}
