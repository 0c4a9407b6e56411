use anyhow::Result;
use comfy_table::Table;
use serde::Serialize;
use strongroom_control_plane::{NewTemplate, TemplateRecord};
use strongroom_types::{ByteSize, Call, DiskFormat, TemplateId};

use crate::cli::{Output, Template};
use crate::commands::{absolute, image_format};
use crate::output::{print, table};
use crate::places::Places;
use crate::report::with_bar;
use crate::session::Session;

/// A template as it is shown. Sizes are in bytes.
#[derive(Debug, Serialize)]
struct TemplateView {
    id: TemplateId,
    path: String,
    format: DiskFormat,
    size: u64,
    sha256: String,
    /// Its removal began and has not ended.
    removing: bool,
}

impl From<TemplateRecord> for TemplateView {
    fn from(record: TemplateRecord) -> Self {
        Self {
            id: record.id,
            path: record.path.display().to_string(),
            format: record.format,
            size: record.size.get(),
            sha256: record.sha256,
            removing: record.removing,
        }
    }
}

pub(super) fn run(session: &Session, command: Template, output: Output, call: &Call) -> Result<()> {
    let control = &session.control;
    let templates: Vec<TemplateView> = match command {
        Template::Add {
            name,
            file,
            format,
            largest,
            opaque,
        } => {
            let path = absolute(&file)?;
            Places::of(session)?.refuse_source(&path)?;
            let format = image_format(&path, format, "--format")?;
            let mut new = NewTemplate::new(name, path, format);
            (new.largest, new.opaque) = (largest, opaque);
            let added: TemplateView = with_bar(output, "read the template", call, |call| {
                Ok(control.add_template(call, &new)?)
            })?
            .into();
            return print(output, &added, |t| listing(std::slice::from_ref(t)));
        }
        Template::List => control.templates()?.into_iter().map(TemplateView::from).collect(),
        Template::Remove { name } => {
            control.remove_template(call, &name)?;
            control.templates()?.into_iter().map(TemplateView::from).collect()
        }
    };
    print(output, &templates, |t| listing(t))
}

fn listing(templates: &[TemplateView]) -> Table {
    let mut table = table(["template", "size", "format", "sha256", "image"]);
    for t in templates {
        let state = if t.removing { " (removing)" } else { "" };
        table.add_row([
            format!("{}{state}", t.id),
            ByteSize::bytes(t.size).to_string(),
            t.format.to_string(),
            t.sha256.clone(),
            t.path.clone(),
        ]);
    }
    table
}
