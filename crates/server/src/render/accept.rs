//! Content negotiation: which rendition of an answer a client asked for (RFC 9110 section 12; API concepts page
//! "Alternate representations of resources").

use skiff_api::Status;
use skiff_api::kind::Verb;

/// What every resource can be written in, and what lists are beside, as refusals name it. Protobuf
/// is on the list for clients that read it; only bodies of requests may be that.
const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const STREAM_TYPES: &str =
    "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// The view of an object that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The object itself.
    Whole,
    /// `as=Table`: the columns of kubectl.
    Table,
    /// `as=PartialObjectMetadata` or `...List`: apiVersion, kind and metadata.
    Metadata,
}

/// What the answer is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    pub format: Format,
    pub view: View,
    pub pretty: bool,
}

impl Accept {
    pub const JSON: Accept = Accept { format: Format::Json, view: View::Whole, pretty: false };

    /// Reads an `Accept` header: the first acceptable entry that is known here wins.
    pub fn parse(header: &str, verb: Verb) -> Result<Accept, Status> {
        if header.trim().is_empty() {
            return Ok(Accept::JSON);
        }
        let media = |text: &str| text.split(';').next().unwrap_or("").trim().to_owned();
        let served = |text: &str| text == "*/*" || MEDIA_TYPES.split(", ").any(|it| it == text);
        if !header.split(',').any(|text| served(&media(text))) {
            return Err(match verb {
                Verb::List | Verb::Watch => {
                    Status::no_representation(&format!("{MEDIA_TYPES}, {STREAM_TYPES}"))
                }
                _ => Status::no_representation(MEDIA_TYPES),
            });
        }
        header.split(',').find_map(entry).ok_or_else(Status::not_acceptable)
    }

    /// How a refusal is written: as the header says, or, where that says nothing that a refusal can
    /// be, as JSON for people.
    pub fn of_refusal(header: &str) -> Accept {
        let whole = |accept: &Accept| accept.view == View::Whole;
        let first = header.split(',').filter_map(entry).find(whole);
        let fallback = Accept { pretty: !header.trim().is_empty(), ..Accept::JSON };
        first.unwrap_or(fallback)
    }
}

fn entry(text: &str) -> Option<Accept> {
    let mut parts = text.split(';').map(str::trim);
    let format = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let (mut view, mut group, mut version, mut pretty) = (View::Whole, "", "", false);
    let mut refused = false;
    for part in parts {
        match part.split_once('=') {
            Some(("as", "Table")) => view = View::Table,
            Some(("as", "PartialObjectMetadata" | "PartialObjectMetadataList")) => {
                view = View::Metadata
            }
            Some(("as", _)) => return None,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            Some(("pretty", value)) => pretty = value != "0",
            Some(("q", value)) => refused = value.parse() == Ok(0.0),
            _ => {}
        }
    }
    // Other groups and versions of a view (`g=apidiscovery.k8s.io`) are not for objects.
    let known =
        view == View::Whole || (group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1"));
    (known && !refused && (view != View::Whole || group.is_empty())).then_some(Accept {
        format,
        view,
        pretty,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_entry_wins() {
        let view =
            |text| Accept::parse(text, Verb::Get).map(|a| (a.format, a.view)).map_err(|s| s.code);
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(view(table), Ok((Format::Json, View::Table)));
        assert_eq!(
            view("application/vnd.kubernetes.protobuf, */*"),
            Ok((Format::Json, View::Whole))
        );
        assert_eq!(view("application/yaml"), Ok((Format::Yaml, View::Whole)));
        assert_eq!(view("application/vnd.kubernetes.protobuf"), Err(406));
        assert_eq!(view("text/html, application/json;as=Foo;g=meta.k8s.io;v=v1"), Err(406));
    }
}
