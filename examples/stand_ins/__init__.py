"""External systems to try a handler against: an ERP, SAP and ServiceNow as they behave on good and on bad days."""
