use strongroom_types::DiskTarget;

use crate::disk::chain;
use crate::xml::Element;
use crate::{Image, LiveDomain, Refusal};

/// A disk of a machine whose description was made elsewhere or earlier, as it is to be now.
#[derive(Debug)]
pub(crate) struct Place<'d> {
    pub(crate) target: &'d DiskTarget,
    pub(crate) image: &'d Image,
    pub(crate) backing: &'d [Image],
    /// The whole length of the image, where libvirt has to be told.
    pub(crate) length: Option<u64>,
}

/// The description with these disks at these places. All else stays: addresses in the guest have to be those that its memory knows.
pub(crate) fn rehomed(mut domain: Element, places: &[Place<'_>]) -> Result<Element, Refusal> {
    let devices = domain
        .children_mut()
        .filter(|element| element.name() == "devices");
    for disk in devices.flat_map(Element::children_mut) {
        let target = disk.child("target").and_then(|target| target.attribute("dev"));
        let place = places
            .iter()
            .find(|place| disk.name() == "disk" && target == Some(place.target.as_str()));
        if let Some(place) = place {
            put(disk, place)?;
        }
    }
    Ok(domain)
}

fn put(disk: &mut Element, place: &Place<'_>) -> Result<(), Refusal> {
    let mut source = place.image.place("source")?;
    if let Some(length) = place.length {
        let slice = Element::new("slice")
            .with("type", "storage")
            .with("offset", "0")
            .with("size", length.to_string());
        source = source.holding(Element::new("slices").holding(slice));
    }
    disk.set("type", place.image.source().kind());
    for driver in disk.children_mut().filter(|element| element.name() == "driver") {
        driver.set("type", place.image.format_word());
    }
    disk.put(source);
    disk.put(chain(place.backing)?);
    disk.take_away("mirror");
    Ok(())
}

/// No disk that was encrypted is in clear there.
pub(crate) fn refuse_in_clear(domain: &LiveDomain, places: &[Place<'_>]) -> Result<(), Refusal> {
    for place in places {
        let was = domain
            .disk(place.target)
            .is_some_and(crate::LiveDisk::is_encrypted);
        if was && place.image.secret().is_none() {
            return Err(Refusal::InClear {
                target: place.target.clone(),
                what: "the image in its place",
                instead: "",
            });
        }
    }
    Ok(())
}
