CREATE FUNCTION public.audit_log_refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$;

CREATE TABLE public.audit_log (
    seq bigint NOT NULL,
    event_key text NOT NULL,
    event_id text,
    event_type text NOT NULL,
    occurred_at text,
    received_at text NOT NULL,
    actor text,
    subject_type text,
    subject_id text,
    payload text NOT NULL,
    payload_sha256 text NOT NULL,
    recorded_at text NOT NULL,
    prev_hash text NOT NULL,
    hash text NOT NULL
);

CREATE TABLE public.audit_log_schema (
    version integer NOT NULL
);

INSERT INTO public.audit_log VALUES (1, 'audit_log.append:f06e648d97fecf9ee60676fa', 'evt_01JBSAMPLE0001', 'work_order.created', '2026-10-28T16:20:11+00:00', '2026-11-03T09:00:00.000000+00:00', 'usr_ana', 'work_order', 'wo_5d2c81', '{"id": "evt_01JBSAMPLE0001", "type": "work_order.created", "occurred_at": "2026-10-28T16:20:11+00:00", "actor": {"id": "usr_ana", "name": "Ana Conceição"}, "work_order": {"id": "wo_5d2c81", "code": "WO-2026-00481", "name": "Inspeção mensal do compressor C-12", "template": "Inspeção de compressores v4", "folder": "Manutenção preventiva", "status": "Pending", "site": {"id": "site_lis", "name": "Fábrica de Setúbal"}, "element": {"id": "el_c12", "name": "Compressor C-12", "code": "CMP-012"}, "assignees": [], "labels": ["preventiva", "ar comprimido"], "planned_start": "2026-11-03T08:00:00+00:00", "due_date": "2026-11-03T17:00:00+00:00", "allow_submission_after_due_date": true, "created_by": {"id": "usr_ana", "name": "Ana Conceição"}, "created_at": "2026-10-28T16:20:11+00:00", "started_at": null, "finished_at": null, "tasks": [{"id": "t_1", "title": "Verificar nível do óleo", "type": "choice", "status": "Pending", "response": null}, {"id": "t_2", "title": "Pressão de descarga", "type": "number", "status": "Pending", "response": null}, {"id": "t_3", "title": "Fotografia do filtro de admissão", "type": "photo", "status": "Pending", "response": null}]}}', '0acebf9a36753cb9b2ee3319c857c92caab387713edb46dd559e957ad300a171', '2026-11-26T02:10:09.930632+00:00', '0000000000000000000000000000000000000000000000000000000000000000', '7297d2f1644543ba2d55985f096d8292224b6ad677bfca851865cc188729cfc2');
INSERT INTO public.audit_log VALUES (2, 'audit_log.append:6b55dbf7cea39e91117d9721', 'evt_01JBSAMPLE0008', 'action.created', '2026-11-03T09:01:12+00:00', '2026-11-03T09:00:01.000000+00:00', 'usr_joao', 'action', 'act_90b1e4', '{"id": "evt_01JBSAMPLE0008", "type": "action.created", "occurred_at": "2026-11-03T09:01:12+00:00", "actor": {"id": "usr_joao", "name": "João Simões"}, "action": {"id": "act_90b1e4", "code": "A-2026-0193", "title": "Fuga de óleo no compressor C-12", "description": "Nível do óleo abaixo do mínimo na inspeção; mancha visível por baixo do vedante do veio. Zona isolada com absorvente.", "status": "Open", "priority": "High", "site": {"id": "site_lis", "name": "Fábrica de Setúbal"}, "element": {"id": "el_c12", "name": "Compressor C-12", "code": "CMP-012"}, "assigned_to": {"type": "team", "id": "team_mec", "name": "Equipa de Mecânica"}, "created_by": {"id": "usr_joao", "name": "João Simões"}, "created_at": "2026-11-03T09:01:12+00:00", "due_date": "2026-11-05T17:00:00+00:00", "finish_date": null, "last_update": "2026-11-03T09:01:12+00:00", "labels": ["fuga", "segurança"], "attachments": [{"name": "fuga.jpg", "url": "https://files.example.com/act_90b1e4/fuga.jpg", "content_type": "image/jpeg"}], "work_order": {"id": "wo_5d2c81", "code": "WO-2026-00481", "name": "Inspeção mensal do compressor C-12"}, "task": {"id": "t_1", "title": "Verificar nível do óleo"}}}', '47c138af4a255ab5ab1bc21619cdb076ac4d0299a399affb3f243fe8755ab764', '2026-11-26T02:10:09.945616+00:00', '7297d2f1644543ba2d55985f096d8292224b6ad677bfca851865cc188729cfc2', 'fb778474ca6fca2088d1ccb737d61a63424d94444b96eb35812250584bf361ba');
INSERT INTO public.audit_log VALUES (3, 'audit_log.append:b41d688af3c880229ec97125', 'evt_01JBSAMPLE0006', 'work_order.completed', '2026-11-03T09:12:55+00:00', '2026-11-03T09:00:02.000000+00:00', 'usr_joao', 'work_order', 'wo_5d2c81', '{"id": "evt_01JBSAMPLE0006", "type": "work_order.completed", "occurred_at": "2026-11-03T09:12:55+00:00", "actor": {"id": "usr_joao", "name": "João Simões"}, "work_order": {"id": "wo_5d2c81", "code": "WO-2026-00481", "name": "Inspeção mensal do compressor C-12", "template": "Inspeção de compressores v4", "folder": "Manutenção preventiva", "status": "Done", "site": {"id": "site_lis", "name": "Fábrica de Setúbal"}, "element": {"id": "el_c12", "name": "Compressor C-12", "code": "CMP-012"}, "assignees": [{"type": "user", "id": "usr_joao", "name": "João Simões"}, {"type": "team", "id": "team_mec", "name": "Equipa de Mecânica"}], "labels": ["preventiva", "ar comprimido"], "planned_start": "2026-11-03T08:00:00+00:00", "due_date": "2026-11-03T17:00:00+00:00", "allow_submission_after_due_date": true, "created_by": {"id": "usr_ana", "name": "Ana Conceição"}, "created_at": "2026-10-28T16:20:11+00:00", "started_at": "2026-11-03T08:41:07+00:00", "finished_at": "2026-11-03T09:12:55+00:00", "tasks": [{"id": "t_1", "title": "Verificar nível do óleo", "type": "choice", "status": "Done", "response": {"value": "Abaixo do mínimo", "comment": "Reposto 0,5 L — verificar fuga"}}, {"id": "t_2", "title": "Pressão de descarga", "type": "number", "status": "Done", "response": {"value": 7.2, "unit": "bar"}}, {"id": "t_3", "title": "Fotografia do filtro de admissão", "type": "photo", "status": "Done", "response": {"photo": "https://files.example.com/wo_5d2c81/filtro.jpg", "comment": "Filtro limpo ✅"}}]}}', '3c6dacf0dc2260232c023323599b531ef89ff795f7d7e04015aac66488ae9972', '2026-11-26T02:10:09.970135+00:00', 'fb778474ca6fca2088d1ccb737d61a63424d94444b96eb35812250584bf361ba', '86ff48efab136f21f84e74a7a06b78841e11d71ac8c475d3fe25591ab4afd524');
INSERT INTO public.audit_log VALUES (4, 'audit_log.append:6495f0dfdb70ee9b8663cc29', 'evt_4', 'never.heard.of', NULL, '2026-11-03T09:00:04.000000+00:00', NULL, NULL, NULL, '{"id": "evt_4", "type": "never.heard.of", "note": "فحص 🔧 it''s"}', '4e9ec1eb18702c77f45dd1e8b0c2c40054fe28295ee203fb11b4804de14bb7b0', '2026-11-26T02:10:09.990002+00:00', '86ff48efab136f21f84e74a7a06b78841e11d71ac8c475d3fe25591ab4afd524', 'f0f7038c34b88bc34f799cff05b0f0cfd1fbb88e1c9535981ef112d63c8675f4');
INSERT INTO public.audit_log VALUES (5, 'audit_log.append:3135dca9cdbef7039814092d', NULL, '', NULL, '2026-11-03T09:00:05.000000+00:00', NULL, NULL, NULL, '{"no": "id"}', 'bd2e0e506c65bc164dcc7464383d417fc8af522795bc8aea491379e299fc4aa2', '2026-11-26T02:10:10.009653+00:00', 'f0f7038c34b88bc34f799cff05b0f0cfd1fbb88e1c9535981ef112d63c8675f4', '12253cc26a557ba23e27cb7bdfee8dd7c59375d5181ea946c62f4ef4b00d13e5');

INSERT INTO public.audit_log_schema VALUES (3);

ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_event_key_key UNIQUE (event_key);

ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (seq);

CREATE INDEX ix_audit_log_received_at ON public.audit_log USING btree (received_at);

CREATE INDEX ix_audit_log_subject_id ON public.audit_log USING btree (subject_id);

CREATE TRIGGER audit_log_no_change BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.audit_log_refuse();

