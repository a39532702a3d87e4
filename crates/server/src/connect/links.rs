//! Links inside HTML pages that come through the proxy: those to other places of the same target are led through the
//! proxy too. Pure; what is no link passes byte by byte.

/// Elements whose content is text, whatever it looks like.
const RAW: [&str; 8] =
    ["script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"];

/// The page with every link replaced by what `moved` makes of it.
pub fn links(page: &[u8], moved: impl Fn(&str) -> String) -> Vec<u8> {
    let mut out = Out { bytes: Vec::with_capacity(page.len() + page.len() / 8), rest: page };
    loop {
        out.copy_while(|byte| byte != b'<');
        match out.rest {
            [] => return out.bytes,
            [b'<', b'!', b'-', b'-', ..] => out.copy_past(b"-->"),
            [b'<', letter, ..] if letter.is_ascii_alphabetic() => tag(&mut out, &moved),
            _ => out.copy(1),
        }
    }
}

/// What is written so far, and what is still to be read.
struct Out<'a> {
    bytes: Vec<u8>,
    rest: &'a [u8],
}

impl<'a> Out<'a> {
    fn copy(&mut self, length: usize) {
        let taken = self.take(length);
        self.bytes.extend_from_slice(taken);
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn copy_while(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().position(|byte| !fits(*byte)).unwrap_or(self.rest.len());
        let taken = self.take(length);
        self.bytes.extend_from_slice(taken);
        taken
    }

    fn copy_past(&mut self, end: &[u8]) {
        let at = self.rest.windows(end.len()).position(|it| it.eq_ignore_ascii_case(end));
        self.copy(at.map_or(self.rest.len(), |at| at + end.len()));
    }
}

fn tag(out: &mut Out, moved: impl Fn(&str) -> String) {
    let space = |byte: u8| byte.is_ascii_whitespace();
    out.copy(1);
    let element = out.copy_while(|byte| !space(byte) && byte != b'/' && byte != b'>');
    let element = String::from_utf8_lossy(element).to_lowercase();
    loop {
        out.copy_while(|byte| space(byte) || byte == b'/');
        match out.rest {
            [] => return,
            [b'>', ..] => break,
            _ => {}
        }
        // An attribute has a name of one byte at least, even if that is a `=`.
        let start = out.bytes.len();
        out.copy(1);
        out.copy_while(|byte| !space(byte) && !matches!(byte, b'/' | b'>' | b'='));
        let name = String::from_utf8_lossy(&out.bytes[start..]).to_lowercase();
        out.copy_while(space);
        if !out.rest.starts_with(b"=") {
            continue;
        }
        out.copy(1);
        out.copy_while(space);
        let length = match out.rest {
            [quote @ (b'"' | b'\''), ..] => {
                let quote = *quote;
                out.copy(1);
                out.rest.iter().position(|byte| *byte == quote)
            }
            _ => out.rest.iter().position(|byte| space(*byte) || *byte == b'>'),
        };
        let value = out.take(length.unwrap_or(out.rest.len()));
        match std::str::from_utf8(value) {
            Ok(link) if !link.is_empty() && is_link(&element, &name) => {
                out.bytes.extend_from_slice(moved(link).as_bytes());
            }
            _ => out.bytes.extend_from_slice(value),
        }
        if matches!(out.rest, [b'"' | b'\'', ..]) {
            out.copy(1);
        }
    }
    if RAW.contains(&&*element) {
        out.copy_past(format!("</{element}").as_bytes());
    }
}

/// The attributes that hold a link (HTML standard, index of attributes, and those of HTML 4).
fn is_link(element: &str, attribute: &str) -> bool {
    match attribute {
        "href" => matches!(element, "a" | "area" | "base" | "link"),
        "src" => matches!(
            element,
            "audio"
                | "embed"
                | "frame"
                | "iframe"
                | "img"
                | "input"
                | "script"
                | "source"
                | "video"
        ),
        "cite" => matches!(element, "blockquote" | "del" | "ins" | "q"),
        "longdesc" => matches!(element, "frame" | "iframe" | "img"),
        "usemap" => matches!(element, "img" | "input" | "object"),
        "codebase" => matches!(element, "applet" | "object"),
        "formaction" => matches!(element, "button" | "input"),
        "classid" | "data" => element == "object",
        "action" => element == "form",
        "background" => element == "body",
        "icon" => element == "command",
        "manifest" => element == "html",
        "poster" => element == "video",
        "profile" => element == "head",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(page: &str, expected: &str) {
        let made = links(page.as_bytes(), |link| format!("/p{link}"));
        assert_eq!(String::from_utf8_lossy(&made), expected);
    }

    #[test]
    fn links_of_elements_are_led_elsewhere() {
        check(r#"<a href="/x">t</a>"#, r#"<a href="/p/x">t</a>"#);
        check("<IMG alt=a Src='/i' usemap=/m>", "<IMG alt=a Src='/p/i' usemap=/p/m>");
        check("<a title=\"/x\" href = /y>", "<a title=\"/x\" href = /p/y>");
        check("<br/><link href=\"/c\"/>", "<br/><link href=\"/p/c\"/>");
    }

    #[test]
    fn what_only_looks_like_a_link_stays() {
        for page in [
            "a < b, <b href=/x>, </a href=/x>",
            "<!-- <a href=/x> --><p>",
            "<script>'<a href=/x>'</script>",
            "<a href=\"\">",
            "<a hre",
            "<a href",
            "<a href=",
            "<a = > <a =/x>",
            "<",
        ] {
            check(page, page);
        }
        check("<a href=\"/x", "<a href=\"/p/x");
    }
}
