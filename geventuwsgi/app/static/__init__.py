"""Static files: finding them (`files`), and answering by date, tag and range (`conditional`)."""
