//! An object that somebody else made of the one of a request (a webhook's patch, a policy's mutation): it is held to
//! what a request could have sent.

use super::Admit;
use super::matching::{Face, is_whole};
use crate::read::convert;
use skiff_api::json::{self, MAX_BODY_BYTES};
use skiff_api::object::Object;
use skiff_api::schema::decode::{Mode, decode};
use skiff_api::schema::prune::prune;
use skiff_api::schema::{self, emit};
use skiff_json::Value;

/// Why it cannot be one.
pub enum Unfit {
    TooLarge(String),
    Type(String),
}

/// The object in its form: what its schema does not know is dropped, defaults are set.
///
/// # Errors
/// When it is too large, or its fields have the wrong types.
pub fn fitted(face: &Face, at: &Admit<'_>, mut value: Value) -> Result<Object, Unfit> {
    if json::write(&value).len() > MAX_BODY_BYTES {
        return Err(Unfit::TooLarge(format!("limit is {MAX_BODY_BYTES}")));
    }
    let (kind, own) = (face.kind(at), is_whole(at));
    let fitted = match own {
        true if kind.manner.prunes => prune(&mut value, &kind.schema, Mode::Ignore),
        true => decode(&mut value, &kind.schema, Mode::Ignore),
        false => {
            let (group, version, name) = at.asked;
            let schema = schema::gvk(group, version, name);
            let schema = schema.ok_or_else(|| Unfit::Type(format!("{name} has no schema")))?;
            decode(&mut value, schema, Mode::Ignore)
        }
    };
    fitted.map_err(|error| Unfit::Type(error.to_string()))?;
    let mut made = Object::new(value);
    if own {
        convert::default(kind, &mut made);
        emit::emit(made.value_mut(), &kind.schema);
    }
    Ok(made)
}
