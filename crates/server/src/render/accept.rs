//! Content negotiation: which rendition of an answer a client asked for (RFC 9110 section 12; API concepts page
//! "Alternate representations of resources").

use skiff_api::kind::Verb;
use skiff_api::{Status, protobuf};

/// What every resource can be written in, and what lists are beside, as refusals name it.
const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const STREAM_TYPES: &str =
    "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
/// So many entries of a header are looked at, for they are put in order: clients send a few.
const ENTRIES_MOST: usize = 64;

/// The view of an object that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The object itself.
    Whole,
    /// `as=Table`: the columns of kubectl.
    Table,
    /// `as=PartialObjectMetadata`: apiVersion, kind and metadata of one object.
    Metadata,
    /// `as=PartialObjectMetadataList`: those of the objects of a list.
    MetadataList,
}

/// What the answer is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    Protobuf,
}

impl Format {
    /// In the order in which they are tried.
    const ALL: [Format; 3] = [Format::Json, Format::Yaml, Format::Protobuf];

    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => protobuf::MEDIA_TYPE,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    pub format: Format,
    pub view: View,
    pub pretty: bool,
}

/// What can be had of what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The objects of a built-in kind, in all forms and views.
    BuiltIn,
    /// Objects of a custom kind: their types have no numbers, so in protobuf there is their metadata only.
    Custom,
    /// A document without any other view.
    Document,
    /// Aggregated discovery, which is another view of the plain one.
    Discovery,
}

impl Accept {
    pub const JSON: Accept = Accept { format: Format::Json, view: View::Whole, pretty: false };

    /// Reads an `Accept` header of a request for objects.
    pub fn parse(header: &str, verb: Verb, offer: Offer) -> Result<Accept, Status> {
        let lists = matches!(verb, Verb::List | Verb::Watch);
        if offer == Offer::BuiltIn && !is_represented(header) {
            return Err(match lists {
                true => Status::no_representation(&format!("{MEDIA_TYPES}, {STREAM_TYPES}")),
                false => Status::no_representation(MEDIA_TYPES),
            });
        }
        let accept = Accept::of(header, offer).ok_or_else(Status::not_acceptable)?;
        match (verb, accept.format) {
            (Verb::Watch, Format::Yaml) => Err(Status::no_stream(STREAM_TYPES)),
            _ => Ok(accept),
        }
    }

    /// What a document is written in.
    pub fn of_document(header: &str) -> Result<Accept, Status> {
        match is_represented(header) {
            true => Accept::of(header, Offer::Document).ok_or_else(Status::not_acceptable),
            false => Err(Status::no_representation(MEDIA_TYPES)),
        }
    }

    /// The first that can be had, the one that is wanted most before others.
    pub fn of(header: &str, offer: Offer) -> Option<Accept> {
        if header.is_empty() {
            return (offer != Offer::Discovery).then_some(Accept::JSON);
        }
        let offered = |entry: &Entry| Format::ALL.into_iter().find_map(|it| entry.in_(it, offer));
        entries(header).iter().find_map(offered)
    }

    /// How a refusal is written: as the header says, or, where that says nothing that a refusal can
    /// be, as JSON for people.
    pub fn of_refusal(header: &str) -> Accept {
        let fallback = Accept { pretty: !header.trim().is_empty(), ..Accept::JSON };
        Accept::of(header, Offer::Document).unwrap_or(fallback)
    }
}

/// Whether JSON may be sent, which is all that there is.
pub fn is_json(header: &str) -> bool {
    names(header, Format::Json.media_type())
}

/// Whether a type is named that there is, whatever else is said of it.
fn is_represented(header: &str) -> bool {
    names(header, MEDIA_TYPES)
}

fn names(header: &str, types: &str) -> bool {
    let media = |text: &str| text.split(';').next().unwrap_or("").trim().to_owned();
    let served = |text: &str| text == "*/*" || types.split(", ").any(|it| it == text);
    header.trim().is_empty() || header.split(',').any(|text| served(&media(text)))
}

/// One entry of a header.
struct Entry<'h> {
    media: (&'h str, &'h str),
    weight: f32,
    parameters: Vec<(&'h str, &'h str)>,
}

/// The entries in the order in which upstream tries them: by weight and by how much is left open, in a sort that takes
/// either for a reason to go first, so that the order of the header counts as well.
fn entries(header: &str) -> Vec<Entry<'_>> {
    let mut sorted: Vec<Entry> = Vec::new();
    for entry in header.split(',').take(ENTRIES_MOST).filter_map(Entry::read) {
        let before = |other: &Entry| {
            entry.weight > other.weight
                || (entry.media.0 != "*" && other.media.0 == "*")
                || (entry.media.1 != "*" && other.media.1 == "*")
        };
        let stays = sorted.iter().rposition(|other| !before(other)).map_or(0, |at| at + 1);
        sorted.insert(stays, entry);
    }
    sorted
}

impl<'h> Entry<'h> {
    fn read(text: &'h str) -> Option<Entry<'h>> {
        let mut parts = text.split(';').map(str::trim);
        let media = match parts.next()? {
            "*" => ("*", "*"),
            media => media.split_once('/').map(|(a, b)| (a.trim(), b.trim()))?,
        };
        let pairs = parts.filter_map(|it| it.split_once('=')).filter(|(_, it)| !it.is_empty());
        let mut entry = Entry { media, weight: 1.0, parameters: Vec::new() };
        for (key, value) in pairs {
            match key.trim() {
                "q" => entry.weight = value.parse().unwrap_or(0.0),
                key => entry.parameters.push((key, value.trim())),
            }
        }
        Some(entry)
    }

    /// What it asks for, if that can be had in this format.
    fn in_(&self, format: Format, offer: Offer) -> Option<Accept> {
        let (kind, sub) = format.media_type().split_once('/')?;
        if !matches!(self.media, ("*", "*")) && self.media.0 != kind
            || ![sub, "*"].contains(&self.media.1)
        {
            return None;
        }
        let said = |key| self.parameters.iter().rfind(|it| it.0 == key).map(|it| it.1);
        let stream = said("stream").is_none_or(|it| it == "watch" && format != Format::Yaml);
        // The version of the types that are no group's.
        let of_kinds = matches!(offer, Offer::BuiltIn | Offer::Custom);
        let types = said("sv").is_none_or(|it| it == "v1" && of_kinds);
        let view = match (said("as"), said("g"), said("v")) {
            (None, None, None) if offer == Offer::Discovery => return None,
            (None, None, None) => View::Whole,
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2"))
                if offer == Offer::Discovery =>
            {
                View::Whole
            }
            (Some(view), Some("meta.k8s.io"), Some("v1" | "v1beta1")) if of_kinds => match view {
                "Table" if format != Format::Protobuf => View::Table,
                "PartialObjectMetadata" => View::Metadata,
                "PartialObjectMetadataList" => View::MetadataList,
                _ => return None,
            },
            _ => return None,
        };
        let known = view != View::Whole || format != Format::Protobuf || offer != Offer::Custom;
        let pretty = said("pretty") == Some("1");
        (stream && types && known).then_some(Accept { format, view, pretty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_entry_wins() {
        let view = |text| {
            let accept = Accept::parse(text, Verb::Get, Offer::BuiltIn);
            accept.map(|a| (a.format, a.view)).map_err(|s| s.code)
        };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(view(table), Ok((Format::Json, View::Table)));
        assert_eq!(
            view("application/vnd.kubernetes.protobuf, */*"),
            Ok((Format::Protobuf, View::Whole))
        );
        assert_eq!(view("application/yaml"), Ok((Format::Yaml, View::Whole)));
        let wide = "*/*;q=0.9,application/vnd.kubernetes.protobuf;q=0.1";
        assert_eq!(view(wide), Ok((Format::Protobuf, View::Whole)));
        let either = "application/vnd.kubernetes.protobuf;q=0.2,application/json;q=0.8";
        assert_eq!(view(either), Ok((Format::Json, View::Whole)));
        assert_eq!(
            view("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io"),
            Err(406)
        );
        assert_eq!(view("text/html, application/json;as=Foo;g=meta.k8s.io;v=v1"), Err(406));
    }
}
