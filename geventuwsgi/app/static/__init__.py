"""Static files: find and send them (`files`), with conditions and ranges (`conditional`)."""
