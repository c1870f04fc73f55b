"""Stand-ins for external systems (an ERP, SAP, ServiceNow), with their usual failures, to try a handler against."""
