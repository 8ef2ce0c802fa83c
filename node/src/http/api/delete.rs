//! DELETE.

use super::errors::{Rejection, delete_problem, write_failure};
use super::names::decode_name;
use super::{Api, Sse};
use crate::http::wire::{Body, ResponseHead};
use crate::runtime::EngineError;

pub(super) async fn delete(api: &Api, name: &[u8], out: &mut ResponseHead) -> Body<Sse> {
    let name = match decode_name(name) {
        Ok(name) => name,
        Err(error) => return Rejection::name(error).write(out),
    };
    match api.engine().delete(name).await {
        Ok(()) => {
            out.begin(204);
            Body::Absent
        }
        Err(EngineError::Refused(error)) => Body::Full(delete_problem(error).write(out, &error.to_string())),
        Err(EngineError::Failure(failure)) => write_failure(out, &failure),
    }
}
