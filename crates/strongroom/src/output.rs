//! Tables for people, JSON for programs.

use std::io::{self, Write};

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use crate::cli::Output;

/// An empty table with these headings.
pub(crate) fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_header(headings.map(str::to_uppercase));
    table
}

/// Prints a value as JSON, or as the table that is made of it.
pub(crate) fn print<T: Serialize>(
    output: Output,
    value: &T,
    as_table: impl FnOnce(&T) -> Table,
) -> Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, value)?;
            writeln!(out)?;
        }
        Output::Table => writeln!(out, "{}", as_table(value))?,
    }
    Ok(out.flush()?)
}
