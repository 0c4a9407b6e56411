use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::Element;

/// How deep elements may lie in one another. libvirt's own lie about twelve deep, and two more for each image of a chain.
const DEPTH: usize = 500;

/// Why a text was not read as XML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the XML that was expected: {problem}")]
pub struct XmlError {
    pub(crate) problem: String,
}

fn wrong(problem: impl Into<String>) -> XmlError {
    XmlError {
        problem: problem.into(),
    }
}

impl Element {
    /// Reads one element and all in it. Comments and processing instructions are left out.
    ///
    /// # Errors
    /// [`XmlError`] when it is no XML, has a document type (and with it entities of its own), or elements lie more than 500 deep.
    pub fn parse(xml: &str) -> Result<Self, XmlError> {
        let mut reader = Reader::from_str(xml);
        let mut open: Vec<Self> = Vec::new();
        loop {
            let event = reader.read_event().map_err(|e| wrong(e.to_string()))?;
            match event {
                Event::Start(start) => {
                    if open.len() >= DEPTH {
                        return Err(wrong(format!("elements lie more than {DEPTH} deep")));
                    }
                    open.push(begin(&start)?);
                }
                Event::Empty(start) => {
                    let element = begin(&start)?;
                    match open.last_mut() {
                        Some(parent) => parent.put_child(element),
                        None => return Ok(element),
                    }
                }
                Event::End(_) => {
                    let mut element = open.pop().ok_or_else(|| wrong("an end without a beginning"))?;
                    element.close();
                    match open.last_mut() {
                        Some(parent) => parent.put_child(element),
                        None => return Ok(element),
                    }
                }
                Event::Text(text) => {
                    let text = text
                        .xml_content(XmlVersion::Implicit1_0)
                        .map_err(|e| wrong(e.to_string()))?;
                    put(&mut open, &text);
                }
                Event::CData(text) => {
                    let text = text
                        .xml_content(XmlVersion::Implicit1_0)
                        .map_err(|e| wrong(e.to_string()))?;
                    put(&mut open, &text);
                }
                Event::GeneralRef(entity) => {
                    let number = entity.resolve_char_ref().map_err(|e| wrong(e.to_string()))?;
                    let name = entity.decode().map_err(|e| wrong(e.to_string()))?;
                    match (number, resolve_predefined_entity(&name)) {
                        (Some(c), _) => put(&mut open, c.encode_utf8(&mut [0; 4])),
                        (None, Some(known)) => put(&mut open, known),
                        (None, None) => return Err(wrong("an entity that XML does not know")),
                    }
                }
                Event::DocType(_) => return Err(wrong("it has a document type")),
                Event::Eof => return Err(wrong("it ends too early")),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }
}

fn put(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.put_text(text);
    }
}

fn begin(start: &BytesStart<'_>) -> Result<Element, XmlError> {
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut element = Element::new(name(start.name().as_ref()));
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| wrong(e.to_string()))?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|e| wrong(e.to_string()))?;
        element.put_attribute(name(attribute.key.as_ref()), value.into_owned());
    }
    Ok(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_text_are_read_as_they_are_meant() {
        let xml =
            "<?xml version='1.0'?><!-- c --><a n='&#10;&amp;&#xe9;'> <b>x &lt;&#33;<![CDATA[<&]]></b>\n</a>";
        let element = Element::parse(xml).unwrap();
        assert_eq!(element.attribute("n"), Some("\n&é"));
        assert_eq!(element.child("b").unwrap().text(), "x <!<&");
        assert_eq!(element.text(), "", "indentation is no text");
    }

    #[test]
    fn what_is_no_xml_is_an_error() {
        for xml in [
            "",
            "text",
            "<a>",
            "<a><b></a>",
            "<a n='1' n='2'/>",
            "<a n=1/>",
            "<a>&nope;</a>",
            "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
        ] {
            assert!(matches!(Element::parse(xml), Err(XmlError { .. })), "{xml}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert_eq!(Element::parse(&nested(DEPTH)).unwrap().name(), "a");
        assert!(matches!(Element::parse(&nested(DEPTH + 1)), Err(XmlError { .. })));
    }
}
