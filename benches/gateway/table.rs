//! Figures of all rounds become one table.

use std::collections::BTreeMap;

use crate::proxies::Variant;

/// What a figure is of, and its unit; in the order of their first appearance.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    /// The ratio to HAProxy's says something: that of a cost, not that of a rate.
    compares: bool,
    /// By variant, one of each round.
    figures: BTreeMap<Variant, Vec<f64>>,
}

impl Table {
    /// A figure where less is better, and of which the ratio to HAProxy's is wanted.
    pub(crate) fn cost(&mut self, name: &str, variant: Variant, figure: f64) {
        self.add(name, true, variant, figure);
    }

    /// A figure that explains the others.
    pub(crate) fn fact(&mut self, name: &str, variant: Variant, figure: f64) {
        self.add(name, false, variant, figure);
    }

    fn add(&mut self, name: &str, compares: bool, variant: Variant, figure: f64) {
        let place = self.rows.iter().position(|row| row.name == name);
        let place = place.unwrap_or_else(|| {
            self.rows.push(Row {
                name: name.to_owned(),
                compares,
                figures: BTreeMap::new(),
            });
            self.rows.len() - 1
        });
        let figures = &mut self.rows[place].figures;
        figures.entry(variant).or_default().push(figure);
    }

    /// In Markdown.
    pub(crate) fn print(&self) {
        let mut variants: Vec<Variant> = self
            .rows
            .iter()
            .flat_map(|row| row.figures.keys().copied())
            .collect();
        variants.sort_unstable();
        variants.dedup();
        print!("| median [min..max], ×ratio to haproxy of the same round |");
        for variant in &variants {
            print!(" {} |", variant.name());
        }
        println!("\n|---|{}", "---|".repeat(variants.len()));
        for row in &self.rows {
            print!("| {} |", row.name);
            for variant in &variants {
                print!(" {} |", row.cell(*variant));
            }
            println!();
        }
    }
}

impl Row {
    fn cell(&self, variant: Variant) -> String {
        let Some(figures) = self.figures.get(&variant) else {
            return String::new();
        };
        let (least, median, most) = spread(figures);
        let mut cell = format!("{} [{}..{}]", digits(median), digits(least), digits(most));
        let reference = self.figures.get(&Variant::Haproxy);
        let is_other = !matches!(variant, Variant::Haproxy | Variant::Direct);
        // What is added may be less than nothing, within noise.
        let compares = |reference: &&Vec<f64>| {
            self.compares && is_other && reference.iter().all(|figure| *figure > 0.0)
        };
        if let Some(reference) = reference.filter(compares) {
            let ratios: Vec<f64> = figures
                .iter()
                .zip(reference)
                .map(|(figure, reference)| figure / reference)
                .collect();
            let (least, median, most) = spread(&ratios);
            cell = format!("{cell} **×{median:.2}** [{least:.2}..{most:.2}]");
        }
        cell
    }
}

/// The least, the median, the most.
fn spread(figures: &[f64]) -> (f64, f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    };
    (sorted[0], median, sorted[sorted.len() - 1])
}

/// Three digits that count.
fn digits(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
