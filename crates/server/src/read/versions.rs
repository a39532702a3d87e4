//! Versions: objects of one version of a custom resource become objects of another, as they are or by a webhook that
//! the definition names (API reference: CustomResourceConversion, ConversionReview). Whole pages go in at once.
//!
//! What comes back is looked at (`converted`), and loses what the schema of its version does not know.

use super::converted::{self, Wrong};
use super::reader::Reader;
use crate::outbound::review::Reviewer;
use skiff_api::kind::{Conversion, Kind, api_version};
use skiff_api::object::{Object, text};
use skiff_api::schema::decode::Mode;
use skiff_api::schema::prune::prune;
use skiff_api::schema::{Ref, Struct};
use skiff_api::{Status, json as tree};
use skiff_base::Lock;
use skiff_json::{Value, json};
use skiff_store::Record;
use std::sync::Arc;
use std::time::Duration;

/// As long as upstream waits.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of the objects of one call; a page that is larger takes several.
const CALL_MOST: usize = 8 << 20;
/// The longest answer: what was asked may grow.
const ANSWER_MOST: usize = 4 * CALL_MOST;

/// Objects of any versions of a kind in the version of this face. Those that are in it already stay as they are.
///
/// # Errors
/// When the webhook does not answer, or not as it must: none of them is converted then.
pub async fn convert(
    reader: &Reader,
    to: &Kind,
    version: &str,
    mut objects: Vec<Object>,
) -> Result<Vec<Object>, Status> {
    let Some(conversion) = to.conversion() else {
        objects.iter_mut().for_each(|object| object.set("apiVersion", version));
        return Ok(objects);
    };
    let others = |object: &Object| object.text("apiVersion") != version;
    let places: Vec<usize> =
        objects.iter().enumerate().filter(|(_, it)| others(it)).map(|(at, _)| at).collect();
    let mut rest = &places[..];
    while !rest.is_empty() {
        let (mut documents, mut size) = (Vec::new(), 0);
        for place in rest {
            let document = tree::write(objects[*place].value());
            size += document.len();
            if size > CALL_MOST && !documents.is_empty() {
                break;
            }
            documents.push(document);
        }
        let (now, later) = rest.split_at(documents.len());
        let sent: Vec<&Object> = now.iter().map(|place| &objects[*place]).collect();
        let made = call(reader, conversion, (to, version), &sent, documents).await?;
        for (place, made) in now.iter().zip(made) {
            objects[*place] = made;
        }
        rest = later;
    }
    Ok(objects)
}

/// One call: these objects, which are of other versions.
async fn call(
    reader: &Reader,
    conversion: &Conversion,
    (kind, version): (&Kind, &str),
    sent: &[&Object],
    documents: Vec<Vec<u8>>,
) -> Result<Vec<Object>, Status> {
    // They are said to be of the version of the first.
    let given = sent.first().map_or("", |it| it.text("apiVersion"));
    let about = format!("conversion webhook for {given}, Kind={}", kind.kind);
    let failed = |why: String| Status::new(500, "", format!("{about} {why}"));
    let known = conversion.reviews.iter().find(|it| matches!(&***it, "v1" | "v1beta1"));
    let Some(review) = known else {
        return Err(Status::new(500, "", "no supported conversion review versions"));
    };
    let reviewer = Reviewer::of(&reader.outbound, &conversion.client);
    let reviewer = reviewer.map_err(|why| failed(format!("failed: {why}")))?;
    if let Some(why) = reviewer.unusable() {
        return Err(failed(format!("failed: {why}")));
    }
    let uid = skiff_base::id::uuid(reviewer.world());
    let head = format!(
        "{{\"kind\":\"ConversionReview\",\"apiVersion\":\"apiextensions.k8s.io/{review}\",\"request\":\
         {{\"uid\":{},\"desiredAPIVersion\":{},\"objects\":[",
        json!(uid),
        json!(version)
    );
    let mut question = head.into_bytes();
    question.extend(documents.join(&b","[..]));
    question.extend_from_slice(b"]}}");
    let answered = reviewer.ask(question, (TIMEOUT, Some(TIMEOUT)), ANSWER_MOST).await;
    let answered = answered.map_err(|it| failed(format!("failed: {}", it.why)))?;
    let made =
        converted::read(answered, review, &uid).map_err(|why| failed(format!("failed: {why}")))?;
    if made.len() != sent.len() {
        let (found, wanted) = (made.len(), sent.len());
        return Err(failed(format!("returned {found} objects, expected {wanted}")));
    }
    let short = version.rsplit('/').next().unwrap_or(version);
    let face = reader.kinds.now().find(&kind.group, short, &kind.plural).cloned();
    let fit = |made: Object, sent: &Object| {
        let mut made = converted::check(made, sent, (&kind.kind, version))?;
        if let Some(face) = &face {
            prune(made.value_mut(), &face.schema, Mode::Ignore)
                .map_err(|error| Wrong::Object(error.to_string()))?;
        }
        Ok(made)
    };
    let is_one = sent.len() == 1;
    let made = made.into_iter().zip(sent).enumerate();
    let checked = made.map(|(index, (made, sent))| {
        fit(Object::new(made), sent).map_err(|why| {
            failed(match why {
                Wrong::Object(why) if is_one => format!("returned invalid object: {why}"),
                Wrong::Metadata(why) if is_one => format!("returned invalid metadata: {why}"),
                Wrong::Object(why) => {
                    format!("returned invalid converted object at index {index}: {why}")
                }
                Wrong::Metadata(why) => {
                    format!("returned invalid metadata in object at index {index}: {why}")
                }
            })
        })
    });
    checked.collect()
}

/// Conversions that are asked for by what cannot wait: what is missing is noted, fetched in one call for each version,
/// and then there when all of it runs again.
pub struct Conversions<'a> {
    reader: &'a Reader,
    kind: &'a Kind,
    known: Vec<Known>,
    missing: Lock<Vec<(Value, String)>>,
}

struct Known {
    from: Value,
    version: String,
    made: Value,
}

impl<'a> Conversions<'a> {
    pub fn new(reader: &'a Reader, kind: &'a Kind) -> Conversions<'a> {
        Conversions { reader, kind, known: Vec::new(), missing: Default::default() }
    }

    /// The face of the kind that is of this version, if it is served.
    fn face(&self, version: &str) -> Option<Arc<Kind>> {
        let registry = self.reader.kinds.now();
        let is = |it: &&Arc<Kind>| it.storage == self.kind.storage && it.api_version() == version;
        registry.kinds().iter().find(is).cloned()
    }

    /// An object in another version, with the schema of that; `None` when it is not served, or not known yet.
    pub fn get(&self, object: &Value, version: &str) -> Option<(Value, Ref<Struct>)> {
        let face = self.face(version)?;
        if text(object, "apiVersion") == version {
            return Some((object.clone(), face.schema.clone()));
        }
        if self.kind.conversion().is_none() {
            let from = self.face(text(object, "apiVersion"));
            let mut made = Object::new(object.clone());
            super::convert::by_functions(from.as_deref().unwrap_or(self.kind), &face, &mut made);
            return Some((made.into_value(), face.schema.clone()));
        }
        let same = |it: &&Known| it.version == version && it.from == *object;
        if let Some(known) = self.known.iter().find(same) {
            return Some((known.made.clone(), face.schema.clone()));
        }
        self.missing.lock().push((object.clone(), version.to_owned()));
        None
    }

    /// Fetches what was missing, and says whether that was anything.
    ///
    /// # Errors
    /// When it cannot be converted.
    pub async fn fetch(&mut self) -> Result<bool, Status> {
        let mut missing = std::mem::take(self.missing.get_mut());
        let any = !missing.is_empty();
        while let Some(version) = missing.first().map(|(_, version)| version.clone()) {
            let (now, later) = missing.into_iter().partition(|(_, it)| *it == version);
            missing = later;
            let now: Vec<(Value, String)> = now;
            let from: Vec<Value> = now.into_iter().map(|(value, _)| value).collect();
            let objects = from.iter().cloned().map(Object::new).collect();
            let made = convert(self.reader, self.kind, &version, objects).await?;
            self.known.extend(from.into_iter().zip(made).map(|(from, made)| Known {
                from,
                version: version.clone(),
                made: made.into_value(),
            }));
        }
        Ok(any)
    }
}

/// The version of a record, where its definition says who converts.
pub fn of_record(conversion: &Conversion, record: &Record) -> String {
    super::facets::value(record, super::facets::VERSION).unwrap_or(&conversion.oldest).to_owned()
}

/// `group/version` of a version of this kind.
pub fn named(kind: &Kind, version: &str) -> String {
    api_version(&kind.group, version)
}
