use anyhow::Result;
use comfy_table::Table;
use serde::Serialize;
use strongroom_control_plane::{NewOffering, OfferingFilter, OfferingRecord};
use strongroom_types::{DiskFormat, OfferingId};

use crate::cli::{Offering, Output};
use crate::output::{print, table};
use crate::session::Session;

#[derive(Debug, Serialize)]
struct OfferingView {
    id: OfferingId,
    encrypt: bool,
    format: DiskFormat,
    description: String,
}

impl From<OfferingRecord> for OfferingView {
    fn from(record: OfferingRecord) -> Self {
        let OfferingRecord {
            id,
            encrypt,
            format,
            description,
            ..
        } = record;
        Self {
            id,
            encrypt,
            format,
            description,
        }
    }
}

pub(super) fn run(session: &Session, command: Offering, output: Output) -> Result<()> {
    let offerings: Vec<OfferingView> = match command {
        Offering::Create {
            name,
            encrypt,
            format,
            description,
        } => {
            let mut new = NewOffering::new(name, encrypt, format);
            new.description = description;
            let made: OfferingView = session.control.create_offering(&new)?.into();
            return print(output, &made, |o| listing(std::slice::from_ref(o)));
        }
        Offering::Remove { name } => {
            session.control.remove_offering(&name)?;
            listed(session, OfferingFilter::all())?
        }
        Offering::List { encrypt } => {
            let filter = encrypt.map_or_else(OfferingFilter::all, OfferingFilter::encrypting);
            listed(session, filter)?
        }
    };
    print(output, &offerings, |offerings| listing(offerings))
}

fn listed(session: &Session, filter: OfferingFilter) -> Result<Vec<OfferingView>> {
    let found = session.control.offerings(filter)?;
    Ok(found.into_iter().map(OfferingView::from).collect())
}

fn listing(offerings: &[OfferingView]) -> Table {
    let mut table = table(["offering", "encrypted", "format", "description"]);
    for o in offerings {
        let encrypted = if o.encrypt { "yes" } else { "no" };
        table.add_row([o.id.as_str(), encrypted, o.format.as_str(), &o.description]);
    }
    table
}
