use quick_xml::escape::escape;

use super::text;
use crate::Refusal;

/// An XML element in memory: what this crate writes for libvirt and reads from it.
///
/// Attributes and text are kept as they are meant; they are escaped when the element is written. Names are those of libvirt's
/// formats, given by this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    /// An element without attributes and content.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            attributes: Vec::new(),
            children: Vec::new(),
            text: String::new(),
        }
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// The same with one more element in it, after those that are there.
    #[must_use]
    pub fn holding(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// The same with these elements in it, after those that are there.
    #[must_use]
    pub fn holding_all(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }

    /// The same with this text as its content. An element has text or elements, not both: where it has elements, the text is
    /// not written.
    #[must_use]
    pub fn saying(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Its text; empty where it has elements.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first element in it of this name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.named(name).next()
    }

    /// The elements in it of this name, in their order.
    pub fn named<'e>(&'e self, name: &str) -> impl Iterator<Item = &'e Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The element at the end of this way of names, each the first of its name.
    #[must_use]
    pub fn descend(&self, names: &[&str]) -> Option<&Element> {
        names.iter().try_fold(self, |element, name| element.child(name))
    }

    /// As XML, two spaces to a level, with a line feed at its end.
    ///
    /// # Errors
    /// [`Refusal::Character`] when a value or text has a character that XML cannot carry, or that does not come back the same.
    pub fn to_xml(&self) -> Result<String, Refusal> {
        let mut xml = String::new();
        self.write(&mut xml, 0)?;
        Ok(xml)
    }

    fn write(&self, xml: &mut String, depth: usize) -> Result<(), Refusal> {
        let indentation = "  ".repeat(depth);
        xml.extend([indentation.as_str(), "<", &self.name]);
        for (name, value) in &self.attributes {
            text::check(value)?;
            xml.extend([" ", name, "=\"", &escape(value), "\""]);
        }
        text::check(&self.text)?;
        if self.children.is_empty() && self.text.is_empty() {
            xml.push_str("/>\n");
            return Ok(());
        }
        xml.push('>');
        if self.children.is_empty() {
            xml.push_str(&escape(&self.text));
        } else {
            xml.push('\n');
            for child in &self.children {
                child.write(xml, depth + 1)?;
            }
            xml.push_str(&indentation);
        }
        xml.extend(["</", &self.name, ">\n"]);
        Ok(())
    }

    /// Gives an attribute another value, or has it first.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.attributes.retain(|(known, _)| known != name);
        self.attributes.push((name.to_owned(), value.into()));
    }

    /// Puts this element in the place of all that have its name.
    pub(crate) fn put(&mut self, child: Element) {
        self.children.retain(|known| known.name != child.name);
        self.children.push(child);
    }

    /// Takes away all elements of this name.
    pub(crate) fn take_away(&mut self, name: &str) {
        self.children.retain(|known| known.name != name);
    }

    /// The elements in it, to be changed.
    pub(crate) fn children_mut(&mut self) -> impl Iterator<Item = &mut Element> {
        self.children.iter_mut()
    }

    pub(super) fn put_attribute(&mut self, name: String, value: String) {
        self.attributes.push((name, value));
    }

    pub(super) fn put_text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Takes an element in that was read to its end. Text between elements is indentation.
    pub(super) fn put_child(&mut self, child: Element) {
        self.children.push(child);
    }

    pub(super) fn close(&mut self) {
        if !self.children.is_empty() {
            self.text.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_in_xml_is_escaped_and_nothing_breaks_out() {
        let hostile = r#"/v/a"/><disk>'&lt;é"#;
        let element = Element::new("source")
            .with("file", hostile)
            .holding(Element::new("text").saying("<b>&</b>"));
        assert_eq!(
            element.to_xml().unwrap(),
            "<source file=\"/v/a&quot;/&gt;&lt;disk&gt;&apos;&amp;lt;é\">\n  <text>&lt;b&gt;&amp;&lt;/b&gt;</text>\n</source>\n"
        );
        assert_eq!(Element::parse(&element.to_xml().unwrap()).unwrap(), element);
    }

    #[test]
    fn what_would_not_come_back_the_same_is_refused() {
        for hostile in [
            "a\nb",
            "a\tb",
            "a\rb",
            "\0",
            "\u{1b}[0m",
            "\u{7f}",
            "\u{85}",
            "\u{fffe}",
            "\u{ffff}",
        ] {
            let attribute = Element::new("source").with("file", hostile);
            assert!(
                matches!(attribute.to_xml(), Err(Refusal::Character(_))),
                "{hostile:?}"
            );
            let text = Element::new("cmdline").saying(hostile);
            assert!(matches!(text.to_xml(), Err(Refusal::Character(_))), "{hostile:?}");
        }
    }

    #[test]
    fn elements_are_found_by_their_names() {
        let element = Element::new("a")
            .holding(Element::new("b").with("n", "1"))
            .holding(Element::new("b").holding(Element::new("c").saying("deep")));
        assert_eq!(element.child("b").unwrap().attribute("n"), Some("1"));
        assert_eq!(element.named("b").count(), 2);
        assert_eq!(element.descend(&["b", "c"]), None, "the first b has no c");
        assert_eq!(element.child("x"), None);
    }
}
