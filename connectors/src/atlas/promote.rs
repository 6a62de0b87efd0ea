//! `atlas.promote`: points an alias to a version, and says where it pointed before.
//!
//! Setting an alias twice is harmless; saying *before* is not so simple: an attempt that comes after a lost answer
//! finds the alias moved. So the version is tagged first, with the key and the version that the alias had, and the
//! alias is moved after. A repeat under the same key reads its answer from the tag.

use cpd_connector_api::{Request, Value};

use super::{Atlas, Done, alias, input, missing, model, or_null};

impl Atlas {
    pub(super) async fn promote(&self, request: &Request) -> Done {
        let model = model(request)?;
        let number = input(request, "version").unwrap_or_default();
        let alias_name = input(request, "alias").unwrap_or_else(|| "champion".to_owned());
        let alias = alias(&alias_name)?;
        let version = self.backend.version(request, &model, &number).await?;
        let version = version.ok_or_else(|| missing(format!("version {number} of model {model:?}")))?;
        let registered = self.backend.model(request, &model).await?;
        let registered = registered.ok_or_else(|| missing(format!("model {model:?}")))?;
        let current = registered.aliases.get(alias).cloned();

        let tag = format!("cpd.promotion.{alias}");
        let key = request.wire_key();
        let noted = version.tags.get(&tag).and_then(|text| {
            let note = Value::from_json(text.as_bytes()).ok()?;
            (note.get("key")?.as_str()? == key).then(|| note.get("previous").and_then(Value::as_str).map(str::to_owned))
        });
        let previous = match noted {
            Some(previous) => previous,
            None if current.as_deref() == Some(number.as_str()) => current.clone(),
            None => {
                let note = Value::from([("key", Value::from(key)), ("previous", or_null(current.as_deref()))]);
                self.backend.set_tag(request, &model, Some(&number), (&tag, &note.to_json())).await?;
                current.clone()
            }
        };
        if current.as_deref() != Some(number.as_str()) {
            self.backend.set_alias(request, &model, alias, &number).await?;
        }
        Ok(Value::from([
            ("model", Value::from(model)),
            ("version", Value::from(number.as_str())),
            ("alias", Value::from(alias)),
            ("previousVersion", or_null(previous.as_deref())),
            ("changed", Value::from(previous.as_deref() != Some(number.as_str()))),
        ]))
    }
}
