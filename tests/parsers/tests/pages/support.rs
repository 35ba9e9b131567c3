//! What users write, as the controller translates it.

use weft_controller::objects::{self, Kind, Object, ObjectChange, Pool};
use weft_controller::translate::{Settings, Translator};

/// The objects of several documents.
pub(crate) fn objects<'a>(documents: impl IntoIterator<Item = &'a str>) -> Vec<Object> {
    let mut pool = Pool::default();
    let object = |text| {
        let header = objects::header(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let kind = Kind::of(&header.api_version, &header.kind).expect("a known kind");
        objects::read(kind, text, &mut pool).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    documents.into_iter().map(object).collect()
}

/// A translator that has taken in several objects.
pub(crate) fn translated(objects: Vec<Object>) -> Translator {
    let mut translator = Translator::new(Settings::standalone());
    let added = |object: Object| ObjectChange { key: object.key(), object: Some(object) };
    translator.apply(objects.into_iter().map(added).collect());
    translator
}
