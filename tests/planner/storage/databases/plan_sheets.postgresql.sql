CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.api_keys (
    id character varying(32) NOT NULL,
    name character varying(200) NOT NULL,
    digest bytea NOT NULL,
    scopes json NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone
);
CREATE TABLE public.calibration_sets (
    id character varying(64) NOT NULL,
    name character varying(200) NOT NULL,
    source text NOT NULL,
    sequences integer NOT NULL,
    sequence_length integer NOT NULL,
    held_out_sequences integer NOT NULL,
    held_out_length integer NOT NULL,
    seed bigint NOT NULL,
    characters bigint NOT NULL,
    text bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.cells (
    measured_format_id bigint NOT NULL,
    layer_id bigint NOT NULL,
    status character varying(20) NOT NULL,
    loss double precision,
    standard_error double precision,
    samples double precision NOT NULL,
    total double precision,
    total_squares double precision,
    job_id character varying(32),
    measured_at timestamp with time zone NOT NULL,
    drift double precision,
    CONSTRAINT ck_cells_loss_iff_measured CHECK ((((status)::text = 'measured'::text) = (loss IS NOT NULL)))
);
CREATE TABLE public.devices (
    name character varying(100) NOT NULL,
    facts json NOT NULL,
    digest character varying(64) NOT NULL,
    latencies bytea,
    measured_entries integer NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.evaluations (
    id bigint NOT NULL,
    job_id character varying(32) NOT NULL,
    model_id character varying(64) NOT NULL,
    plan_id character varying(32),
    calibration_id character varying(64) NOT NULL,
    label character varying(100) NOT NULL,
    size_bits bigint NOT NULL,
    effective_bits double precision NOT NULL,
    kl double precision NOT NULL,
    kl_error double precision,
    perplexity double precision NOT NULL,
    perplexity_error double precision,
    reference_perplexity double precision NOT NULL,
    reference_perplexity_error double precision,
    top1_agreement double precision NOT NULL,
    top1_error double precision,
    sequences integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    router_flips double precision,
    router_flips_error double precision
);
CREATE SEQUENCE public.evaluations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.evaluations_id_seq OWNED BY public.evaluations.id;
CREATE TABLE public.idempotent_answers (
    owner character varying(32) NOT NULL,
    key character varying(255) NOT NULL,
    request_digest bytea NOT NULL,
    status integer NOT NULL,
    headers json NOT NULL,
    body bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.jobs (
    id character varying(32) NOT NULL,
    kind character varying(30) NOT NULL,
    model_id character varying(64) NOT NULL,
    payload json NOT NULL,
    state character varying(20) NOT NULL,
    priority integer NOT NULL,
    reason text,
    total integer,
    done integer NOT NULL,
    failed integer NOT NULL,
    attempts integer NOT NULL,
    lease_owner character varying(100),
    lease_token character varying(32),
    lease_until timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    label character varying(60),
    memory_bytes bigint,
    sequential boolean DEFAULT false NOT NULL,
    forecast_seconds double precision,
    unit_seconds double precision DEFAULT '0'::double precision NOT NULL,
    summary json NOT NULL
);
CREATE TABLE public.layer_drifts (
    layer_id bigint NOT NULL,
    reference_id character varying(64) NOT NULL,
    change double precision,
    measured_at timestamp with time zone NOT NULL
);
CREATE TABLE public.layers (
    id bigint NOT NULL,
    model_id character varying(64) NOT NULL,
    "position" integer NOT NULL,
    name character varying(300) NOT NULL,
    kind character varying(60) NOT NULL,
    block integer,
    expert integer,
    out_features integer NOT NULL,
    in_features integer NOT NULL,
    active_fraction double precision NOT NULL
);
CREATE SEQUENCE public.layers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.layers_id_seq OWNED BY public.layers.id;
CREATE TABLE public.measured_formats (
    id bigint NOT NULL,
    model_id character varying(64) NOT NULL,
    setting_id character varying(64) NOT NULL,
    format character varying(60) NOT NULL,
    format_identity character varying(64) NOT NULL,
    measured_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.measured_formats_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.measured_formats_id_seq OWNED BY public.measured_formats.id;
CREATE TABLE public.models (
    id character varying(64) NOT NULL,
    name character varying(200) NOT NULL,
    source text NOT NULL,
    path text NOT NULL,
    revision character varying(100),
    kind character varying(20) NOT NULL,
    architecture character varying(100) NOT NULL,
    dtype character varying(20) NOT NULL,
    blocks integer NOT NULL,
    parameters bigint NOT NULL,
    unquantized_bytes bigint NOT NULL,
    kv_elements_per_token bigint NOT NULL,
    vocab_size integer NOT NULL,
    context_length integer,
    created_at timestamp with time zone NOT NULL,
    heads integer,
    kv_heads integer,
    rest json,
    tokenizer_bytes bigint
);
CREATE TABLE public.operating_points (
    model_id character varying(64) NOT NULL,
    setting_id character varying(64) NOT NULL,
    layers json NOT NULL,
    loss double precision NOT NULL,
    standard_error double precision,
    samples double precision NOT NULL,
    job_id character varying(32),
    measured_at timestamp with time zone NOT NULL
);
CREATE TABLE public.plan_choices (
    plan_id character varying(32) NOT NULL,
    sheet_id character varying(32) NOT NULL,
    chosen bytea NOT NULL
);
CREATE TABLE public.plan_documents (
    plan_id character varying(32) NOT NULL,
    document text NOT NULL
);
CREATE TABLE public.plan_events (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    who character varying(300) NOT NULL,
    action character varying(20) NOT NULL,
    model_id character varying(64) NOT NULL,
    plan_id character varying(32) NOT NULL,
    name character varying(100),
    version integer,
    supersedes character varying(32),
    why character varying(500) NOT NULL
);
CREATE SEQUENCE public.plan_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.plan_events_id_seq OWNED BY public.plan_events.id;
CREATE TABLE public.plan_names (
    model_id character varying(64) NOT NULL,
    name character varying(100) NOT NULL,
    plan_id character varying(32) NOT NULL,
    version integer NOT NULL,
    since timestamp with time zone NOT NULL,
    who character varying(300) NOT NULL,
    why character varying(500) NOT NULL
);
CREATE TABLE public.plan_pins (
    plan_id character varying(32) NOT NULL,
    since timestamp with time zone NOT NULL,
    who character varying(300) NOT NULL,
    why character varying(500) NOT NULL
);
CREATE TABLE public.plan_sheets (
    id character varying(32) NOT NULL,
    model_id character varying(64) NOT NULL,
    sheet bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.plans (
    id character varying(32) NOT NULL,
    model_id character varying(64) NOT NULL,
    setting_id character varying(64) NOT NULL,
    runtime character varying(40) NOT NULL,
    solver character varying(40) NOT NULL,
    status character varying(20) NOT NULL,
    budget_kind character varying(30) NOT NULL,
    budget_value double precision NOT NULL,
    size_bits bigint NOT NULL,
    file_bytes bigint NOT NULL,
    effective_bits double precision NOT NULL,
    predicted_loss double precision NOT NULL,
    gap double precision NOT NULL,
    created_at timestamp with time zone NOT NULL,
    probe character varying(60) NOT NULL,
    rounding character varying(60) NOT NULL,
    budget json NOT NULL
);
CREATE TABLE public.probe_settings (
    id character varying(64) NOT NULL,
    probe character varying(60) NOT NULL,
    code_version integer NOT NULL,
    rounding character varying(60) NOT NULL,
    rounding_version integer NOT NULL,
    calibration_id character varying(64),
    parameters json NOT NULL,
    in_nats boolean NOT NULL,
    additive boolean NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.score_products (
    measured_format_id bigint NOT NULL,
    sequences integer NOT NULL,
    draws integer NOT NULL,
    products bytea NOT NULL,
    job_id character varying(32),
    measured_at timestamp with time zone NOT NULL
);
CREATE TABLE public.units (
    id bigint NOT NULL,
    job_id character varying(32) NOT NULL,
    key character varying(100) NOT NULL,
    payload json NOT NULL,
    state character varying(20) NOT NULL,
    reason text,
    attempts integer NOT NULL,
    lease_owner character varying(100),
    lease_token character varying(32),
    lease_until timestamp with time zone,
    result bytea,
    seconds double precision,
    finished_at timestamp with time zone
);
CREATE SEQUENCE public.units_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.units_id_seq OWNED BY public.units.id;
CREATE TABLE public.workers (
    id character varying(100) NOT NULL,
    host character varying(255) NOT NULL,
    pid bigint NOT NULL,
    kinds json NOT NULL,
    labels json NOT NULL,
    memory_bytes bigint,
    lease_seconds double precision NOT NULL,
    draining boolean NOT NULL,
    started_at timestamp with time zone NOT NULL,
    last_seen timestamp with time zone NOT NULL,
    stopped_at timestamp with time zone
);
ALTER TABLE ONLY public.evaluations ALTER COLUMN id SET DEFAULT nextval('public.evaluations_id_seq'::regclass);
ALTER TABLE ONLY public.layers ALTER COLUMN id SET DEFAULT nextval('public.layers_id_seq'::regclass);
ALTER TABLE ONLY public.measured_formats ALTER COLUMN id SET DEFAULT nextval('public.measured_formats_id_seq'::regclass);
ALTER TABLE ONLY public.plan_events ALTER COLUMN id SET DEFAULT nextval('public.plan_events_id_seq'::regclass);
ALTER TABLE ONLY public.units ALTER COLUMN id SET DEFAULT nextval('public.units_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('plan_sheets');
INSERT INTO public.api_keys VALUES ('id', 'name', '\x789c6360c00f0000200001', '{"made_up": 1}', '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00');
INSERT INTO public.calibration_sets VALUES ('fa217a4c5c923a40c03c2663210ebf1bed0b059c161cfd5314feb38fc93db56d', 'toy text', 'text of the request', 4, 32, 2, 32, 0, 6600, '\x789cedcac10980301000b0556e029771020b2716d442ab084eef187e9277e6fae688a5673c5bdb33cefb28d947b4354abdc614b3200882200882200882200882200882200882f047f8002de53fb8', '2026-11-28 21:06:21.36732+00');
INSERT INTO public.cells VALUES (1, 1, 'measured', 0.004128584169165152, 0.0004128584169165152, 16, 0.06605734670664243, 0.00031363181325061234, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (1, 2, 'measured', 0.0034370225855577252, 0.00034370225855577253, 16, 0.054992361368923603, 0.00021736148626686394, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (1, 3, 'measured', 0.006543089079186856, 0.0006543089079186856, 16, 0.1046894252669897, 0.0007877410704464072, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (1, 4, 'measured', 0.0042032075492463555, 0.00042032075492463557, 16, 0.06725132078794169, 0.0003250719481175646, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (1, 5, 'measured', 0.0022570417485928353, 0.00022570417485928354, 16, 0.036112667977485365, 9.373396916999447e-05, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (1, 6, 'measured', 0.005808508912859483, 0.0005808508912859483, 16, 0.09293614260575173, 0.0006207934745501322, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (1, 7, 'measured', 0.013359502838077388, 0.0013359502838077388, 16, 0.2137520454092382, 0.003283964215882999, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (2, 1, 'measured', 0.019478484803515075, 0.0019478484803515076, 16, 0.3116557568562412, 0.006981169212430125, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (2, 2, 'measured', 0.012864092282046475, 0.0012864092282046475, 16, 0.2058254765127436, 0.003044921612434542, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (2, 3, 'measured', 0.029003475849180095, 0.0029003475849180096, 16, 0.4640556135868815, 0.015478109648545103, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (2, 4, 'measured', 0.016433902299844514, 0.0016433902299844514, 16, 0.2629424367975122, 0.00496934586433536, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (2, 5, 'measured', 0.010149801609204818, 0.0010149801609204818, 16, 0.1623968257472771, 0.0018955398977943876, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (2, 6, 'measured', 0.020987935721385416, 0.0020987935721385417, 16, 0.33580697154216665, 0.00810507940354811, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (2, 7, 'measured', 0.05810626390521421, 0.005810626390521421, 16, 0.9297002224834273, 0.062124617452412156, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (3, 1, 'measured', 1.5246405082878468e-05, 1.5246405082878467e-06, 16, 0.00024394248132605549, 4.277132770302492e-09, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (3, 2, 'measured', 1.0596754004704108e-05, 1.0596754004704109e-06, 16, 0.00016954806407526573, 2.066157996026311e-09, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (3, 3, 'measured', 2.6906061182019418e-05, 2.6906061182019416e-06, 16, 0.0004304969789123107, 1.3320424761282529e-08, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (3, 4, 'measured', 1.7658528005335647e-05, 1.7658528005335647e-06, 16, 0.00028253644808537036, 5.73755444820011e-09, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (3, 5, 'measured', 1.0238269824649273e-05, 1.0238269824649274e-06, 16, 0.00016381231719438837, 1.928727909642759e-09, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (3, 6, 'measured', 2.397706484732715e-05, 2.397706484732715e-06, 16, 0.0003836330375572344, 1.0578153351949937e-08, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.cells VALUES (3, 7, 'measured', 5.126371420725448e-05, 5.126371420725448e-06, 16, 0.0008202194273160717, 4.83546184555444e-08, NULL, '2026-11-28 21:06:21.386697+00', NULL);
INSERT INTO public.devices VALUES ('toy-device', '{"name": "toy-device", "description": "", "pools": [{"name": "ram", "bandwidth": {"value": 10000000000.0, "source": "", "status": "unverified"}, "size": null}], "peaks": {"bf16": {"value": 1000000000000.0, "source": "", "status": "unverified"}}, "kernel_seconds": {"value": 0.0, "source": "", "status": "unverified"}, "bandwidth_share": {"value": 0.7, "source": "assumed: 0.6 to 0.85 is usual", "status": "unverified"}}', '4721bdac6865045d2bb12c1d212894eda981a6a14e16edac8b3eace5e087e141', '\x789c5d8ec10ac2400c44ff25e722558a487f40bc78f2266589dd945d6837924df550faef6629bd9853783393c9026fe19e72668116a0020d42e833b4691ec70a320ffa45a14d9c4803fb7dc73c0b7987ba9b29a944b2ec73019ed50d846a1603c7d3a58298fec9c0329538dcee8fc65dcf8ddd7da1f6c174eba69e5379a53ed4368528268fe29da74f448d9cb6eab55b7f39ab4242', 1, '2026-11-28 21:06:21.705744+00');
INSERT INTO public.evaluations VALUES (1, 'id', '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', '04938b865efc286b414fe544', 'fa217a4c5c923a40c03c2663210ebf1bed0b059c161cfd5314feb38fc93db56d', 'plan', 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1, '2026-01-02 03:04:05+00', 0.5, 0.5);
INSERT INTO public.idempotent_answers VALUES ('owner', 'key', '\x789c6360c00f0000200001', 1, '{"made_up": 1}', '\x789c6360c00f0000200001', '2026-01-02 03:04:05+00');
INSERT INTO public.jobs VALUES ('id', 'sensitivity', '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', '{"made_up": 1}', 'succeeded', 1, 'reason', 1, 1, 1, 1, 'lease_owner', 'lease_token', '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00', 'plan', 1, true, 0.5, 0.5, '{"made_up": 1}');
INSERT INTO public.layer_drifts VALUES (1, 'reference_id', 0.5, '2026-01-02 03:04:05+00');
INSERT INTO public.layers VALUES (1, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', 0, 'model.layers.0.self_attn.q_proj', 'q_proj', 0, NULL, 128, 128, 1);
INSERT INTO public.layers VALUES (2, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', 1, 'model.layers.0.self_attn.k_proj', 'k_proj', 0, NULL, 64, 128, 1);
INSERT INTO public.layers VALUES (3, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', 2, 'model.layers.0.self_attn.v_proj', 'v_proj', 0, NULL, 64, 128, 1);
INSERT INTO public.layers VALUES (4, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', 3, 'model.layers.0.self_attn.o_proj', 'o_proj', 0, NULL, 128, 128, 1);
INSERT INTO public.layers VALUES (5, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', 4, 'model.layers.0.mlp.gate_proj', 'gate_proj', 0, NULL, 256, 128, 1);
INSERT INTO public.layers VALUES (6, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', 5, 'model.layers.0.mlp.up_proj', 'up_proj', 0, NULL, 256, 128, 1);
INSERT INTO public.layers VALUES (7, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', 6, 'model.layers.0.mlp.down_proj', 'down_proj', 0, NULL, 128, 256, 1);
INSERT INTO public.layers VALUES (8, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', 7, 'lm_head', 'lm_head', NULL, NULL, 256, 128, 1);
INSERT INTO public.measured_formats VALUES (1, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', '6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325', 'INT4_G64', '14d1df234fd0393b814957633524780eb08ad5fbdc6be658c15f007d162f378b', '2026-11-28 21:06:21.386697+00');
INSERT INTO public.measured_formats VALUES (2, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', '6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325', 'INT3_G64', '3798e3057a47cdea7ebd1d4949aff9684a3c54e0eed57ecbd5fade9e1d09c319', '2026-11-28 21:06:21.386697+00');
INSERT INTO public.measured_formats VALUES (3, '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', '6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325', 'INT8_G64', 'c72648afbe112f574e3cb3c76b6eacea1acb8a41483484e370c62c9a5029362a', '2026-11-28 21:06:21.386697+00');
INSERT INTO public.models VALUES ('0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', 'toy', '/models/toy', '/models/toy', NULL, 'safetensors', 'llama', 'bfloat16', 1, 212992, 65536, 128, 256, 2048, '2026-11-28 21:06:21.251716+00', NULL, NULL, NULL, NULL);
INSERT INTO public.operating_points VALUES ('0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', '6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325', '{"made_up": 1}', 0.5, 0.5, 0.5, 'job_id', '2026-01-02 03:04:05+00');
INSERT INTO public.plan_choices VALUES ('04938b865efc286b414fe544', 'b6be6046c64c07e351687d87d15416b4', '\x010001000200010001000100010003000300000003000300030003000000010000000000000000000100');
INSERT INTO public.plan_documents VALUES ('04938b865efc286b414fe544', '{"id":"04938b865efc286b414fe544","created_at":"2026-11-28T21:06:21.587629Z","model":"0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385","model_name":"toy","runtime":"generic","formats":["INT3_G64","INT4_G64","INT8_G64"],"budget":{"effective_bits":4.5,"file_bytes":null,"resident_bytes":null,"decode_seconds":null,"prefill_seconds":null,"bit_operations":null,"pool_bytes":null,"max_loss":null,"device":null,"context":0,"batch":1,"workspace_bytes":0},"size":{"layer_bits":659456,"effective_bits":4.472222222222222,"tensor_bytes":213504,"container_bytes":null,"file_bytes":213504,"kv_bytes":0,"resident_bytes":213504},"predicted":{"loss":0.03322077386468096,"standard_error":0.0016243008910295585,"unit":"nats/token","probe":"fisher","step":null,"cross_terms":null},"proof":{"status":"optimal","advice":"Use it: no choice within the budget has a smaller loss.","lower_bound":0.03322077386468096,"gap":0.0,"multiplier":1.0456621800393741e-7,"lagrangian_bound":0.03279247063573683,"budget_layer_bits":663552,"slack_bits":4096,"solver":"mckp","solve_seconds":0.001137867002398707,"caution":0.0,"objective":null,"direction":{},"counts":[],"smallest":null},"binding":"effective_bits","price_per_megabyte":0.8365297440314993,"references":[{"label":"uniform INT4_G64","format":"INT4_G64","loss":0.03973695688268579,"size":{"layer_bits":626688,"effective_bits":4.25,"tensor_bytes":209408,"container_bytes":null,"file_bytes":209408,"kv_bytes":0,"resident_bytes":209408},"keeps_counts":true,"kv_formats":null,"corrected_loss":null}],"choices":[],"groups":[],"ignored":["lm_head"],"notes":["the errors of these fisher cells do not tell luck from truth: the loss of a chosen plan may be too low"],"provenance":{"fingerprint":"0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385","setting":"6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325","probe":"fisher","probe_version":1,"probe_parameters":{"made_up":"yes"},"rounding":"rtn","calibration":"fa217a4c5c923a40c03c2663210ebf1bed0b059c161cfd5314feb38fc93db56d","bitplan":"0.1.0","kv_setting":null,"device":null},"request":{"runtime":"generic","ignore":null,"pins":{},"floors":{},"ceilings":{},"menus":{},"experts":"free","model":"toy","formats":null,"probe":null,"setting":null,"rounding":null,"kv_formats":null,"kv_setting":null,"step_errors":2.0,"shrinkage":true,"budget":{"effective_bits":4.5,"file_bytes":null,"resident_bytes":null,"decode_seconds":null,"prefill_seconds":null,"bit_operations":null,"pool_bytes":null,"max_loss":null,"device":null,"context":0,"batch":1,"workspace_bytes":0},"deadline_seconds":5.0,"allow_slack":false,"counts":[],"caution":0.0,"alternatives":0,"alternative_layers":null},"alternatives":[],"corrected":null,"menu_limit":null,"confidence":{"additivity":"usual","reasons":[]},"limits":[{"kind":"effective_bits","device":null,"pool":null,"limit":4.5,"used":4.472222222222222,"slack":0.02777777777777768,"binds":true,"price":0.015418916241988595,"multiplier":1.0456621800393741e-7,"whole_units":663552,"whole_used":659456,"least":3.25,"most":8.25}],"kv":[],"kv_groups":[],"kv_formats":[],"placement":[]}');
INSERT INTO public.plan_events VALUES (1, '2026-01-02 03:04:05+00', 'who', 'action', 'model_id', 'plan_id', 'name', 1, 'supersedes', 'why');
INSERT INTO public.plan_names VALUES ('0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', 'name', '04938b865efc286b414fe544', 1, '2026-01-02 03:04:05+00', 'who', 'why');
INSERT INTO public.plan_pins VALUES ('04938b865efc286b414fe544', '2026-01-02 03:04:05+00', 'who', 'why');
INSERT INTO public.plan_sheets VALUES ('b6be6046c64c07e351687d87d15416b4', '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', '\xa8030000000000007b225f5f6d657461646174615f5f223a7b227465787473223a227b5c226d6f64656c5c223a5c22306635333133336365353763613865383933376262346231633135613333656639353934373034653163313161626435386535393862623833363266373338355c222c5c226e616d65735c223a5b5c226d6f64656c2e6c61796572732e302e73656c665f6174746e2e715f70726f6a5c222c5c226d6f64656c2e6c61796572732e302e73656c665f6174746e2e6b5f70726f6a5c222c5c226d6f64656c2e6c61796572732e302e73656c665f6174746e2e765f70726f6a5c222c5c226d6f64656c2e6c61796572732e302e73656c665f6174746e2e6f5f70726f6a5c222c5c226d6f64656c2e6c61796572732e302e6d6c702e676174655f70726f6a5c222c5c226d6f64656c2e6c61796572732e302e6d6c702e75705f70726f6a5c222c5c226d6f64656c2e6c61796572732e302e6d6c702e646f776e5f70726f6a5c225d2c5c226b696e64735c223a5b5c22715f70726f6a5c222c5c226b5f70726f6a5c222c5c22765f70726f6a5c222c5c226f5f70726f6a5c222c5c22676174655f70726f6a5c222c5c2275705f70726f6a5c222c5c22646f776e5f70726f6a5c225d2c5c22626c6f636b735c223a5b302c302c302c302c302c302c305d2c5c22666f726d6174735c223a5b5c22494e54335f4736345c222c5c22494e54345f4736345c222c5c22494e54385f4736345c225d7d227d2c2262697473223a7b226474797065223a22493634222c227368617065223a5b372c335d2c22646174615f6f666673657473223a5b302c3136385d7d2c2267726f75705f6f665f6c61796572223a7b226474797065223a22493634222c227368617065223a5b375d2c22646174615f6f666673657473223a5b3136382c3232345d7d2c226c617965725f62697473223a7b226474797065223a22493634222c227368617065223a5b342c335d2c22646174615f6f666673657473223a5b3232342c3332305d7d2c2273686170655f6f665f6c61796572223a7b226474797065223a22493634222c227368617065223a5b375d2c22646174615f6f666673657473223a5b3332302c3337365d7d2c226572726f7273223a7b226474797065223a22463634222c227368617065223a5b372c335d2c22646174615f6f666673657473223a5b3337362c3534345d7d2c226c6f73736573223a7b226474797065223a22463634222c227368617065223a5b372c335d2c22646174615f6f666673657473223a5b3534342c3731325d7d7d202000d00000000000000010010000000000001002000000000000680000000000000088000000000000000801000000000000680000000000000088000000000000000801000000000000d00000000000000010010000000000001002000000000000a00100000000000020020000000000002004000000000000a00100000000000020020000000000002004000000000000a001000000000000200200000000000020040000000000000000000000000001000000000000000200000000000000030000000000000004000000000000000500000000000000060000000000000000d00000000000000010010000000000001002000000000000680000000000000088000000000000000801000000000000a00100000000000020020000000000002004000000000000a0010000000000002002000000000000200400000000000000000000000000010000000000000001000000000000000000000000000000020000000000000002000000000000000300000000000000f2b45261dee95f3fda5f06669d0e3b3f5bfc8ff74794b93eac511f649713553fcd62c6f55d86363f5913ab6c45c7b13e55b3c64078c2673f4ffe34aebd70453f2aae3a5b0892c63e28d9b5d2e0ec5a3fca6a6fe5cf8b3b3ff395e7af47a0bd3eb63739a622a1503f8207641960952d3fd5880bac4d2db13e75c51b387d31613fbd897cca8708433f167d7914091dc43e71a51025e2cc773f2a58cbb161e3553f4b91103f6680d53e17b1d3fc2af2933fe8fbc35f22e9703f72fb73f559f9ef3e1726273d7d588a3f80fb3773f5276c3f2fd8d5c71639e63e2a60f85016b39d3fe33dc219edcc7a3fb55909728a36fc3eb9a7b1830cd4903fbea265ef6137713fb8bdf0cd2c84f23ea485c74f6bc9843fb184de0f5c7d623f0a6b0e17a178e53ed2b62286dc7d953f2cac1bbda9ca773f5cdc97594b24f93ecdce54ae1ac0ad3f342e3e1e3a5c8b3f9eb5d4ce7fe00a3f', '2026-11-28 21:06:21.654592+00');
INSERT INTO public.plans VALUES ('04938b865efc286b414fe544', '0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385', '6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325', 'generic', 'mckp', 'optimal', 'effective_bits', 4.5, 659456, 213504, 4.472222222222222, 0.03322077386468096, 0, '2026-11-28 21:06:21.587629+00', 'fisher', 'rtn', '{"effective_bits": 4.5, "file_bytes": null, "resident_bytes": null, "decode_seconds": null, "prefill_seconds": null, "bit_operations": null, "pool_bytes": null, "max_loss": null, "device": null, "context": 0, "batch": 1, "workspace_bytes": 0}');
INSERT INTO public.probe_settings VALUES ('6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325', 'fisher', 1, 'rtn', 1, 'fa217a4c5c923a40c03c2663210ebf1bed0b059c161cfd5314feb38fc93db56d', '{"made_up": "yes"}', true, true, '2026-11-28 21:06:21.41314+00');
INSERT INTO public.score_products VALUES (1, 1, 1, '\x789c6360c00f0000200001', 'job_id', '2026-01-02 03:04:05+00');
INSERT INTO public.units VALUES (1, 'id', 'key', '{"made_up": 1}', 'succeeded', 'reason', 1, 'lease_owner', 'lease_token', '2026-01-02 03:04:05+00', '\x789c6360c00f0000200001', 0.5, '2026-01-02 03:04:05+00');
INSERT INTO public.workers VALUES ('id', 'host', 1, '{"made_up": 1}', '{"made_up": 1}', 1, 0.5, true, '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00');
SELECT pg_catalog.setval('public.evaluations_id_seq', 1, true);
SELECT pg_catalog.setval('public.layers_id_seq', 8, true);
SELECT pg_catalog.setval('public.measured_formats_id_seq', 3, true);
SELECT pg_catalog.setval('public.plan_events_id_seq', 1, true);
SELECT pg_catalog.setval('public.units_id_seq', 1, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT pk_api_keys PRIMARY KEY (id);
ALTER TABLE ONLY public.calibration_sets
    ADD CONSTRAINT pk_calibration_sets PRIMARY KEY (id);
ALTER TABLE ONLY public.cells
    ADD CONSTRAINT pk_cells PRIMARY KEY (measured_format_id, layer_id);
ALTER TABLE ONLY public.devices
    ADD CONSTRAINT pk_devices PRIMARY KEY (name);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT pk_evaluations PRIMARY KEY (id);
ALTER TABLE ONLY public.idempotent_answers
    ADD CONSTRAINT pk_idempotent_answers PRIMARY KEY (owner, key);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT pk_jobs PRIMARY KEY (id);
ALTER TABLE ONLY public.layer_drifts
    ADD CONSTRAINT pk_layer_drifts PRIMARY KEY (layer_id, reference_id);
ALTER TABLE ONLY public.layers
    ADD CONSTRAINT pk_layers PRIMARY KEY (id);
ALTER TABLE ONLY public.measured_formats
    ADD CONSTRAINT pk_measured_formats PRIMARY KEY (id);
ALTER TABLE ONLY public.models
    ADD CONSTRAINT pk_models PRIMARY KEY (id);
ALTER TABLE ONLY public.operating_points
    ADD CONSTRAINT pk_operating_points PRIMARY KEY (model_id, setting_id);
ALTER TABLE ONLY public.plan_choices
    ADD CONSTRAINT pk_plan_choices PRIMARY KEY (plan_id);
ALTER TABLE ONLY public.plan_documents
    ADD CONSTRAINT pk_plan_documents PRIMARY KEY (plan_id);
ALTER TABLE ONLY public.plan_events
    ADD CONSTRAINT pk_plan_events PRIMARY KEY (id);
ALTER TABLE ONLY public.plan_names
    ADD CONSTRAINT pk_plan_names PRIMARY KEY (model_id, name);
ALTER TABLE ONLY public.plan_pins
    ADD CONSTRAINT pk_plan_pins PRIMARY KEY (plan_id);
ALTER TABLE ONLY public.plan_sheets
    ADD CONSTRAINT pk_plan_sheets PRIMARY KEY (id);
ALTER TABLE ONLY public.plans
    ADD CONSTRAINT pk_plans PRIMARY KEY (id);
ALTER TABLE ONLY public.probe_settings
    ADD CONSTRAINT pk_probe_settings PRIMARY KEY (id);
ALTER TABLE ONLY public.score_products
    ADD CONSTRAINT pk_score_products PRIMARY KEY (measured_format_id);
ALTER TABLE ONLY public.units
    ADD CONSTRAINT pk_units PRIMARY KEY (id);
ALTER TABLE ONLY public.workers
    ADD CONSTRAINT pk_workers PRIMARY KEY (id);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT uq_evaluations_job_id_label UNIQUE (job_id, label);
ALTER TABLE ONLY public.layers
    ADD CONSTRAINT uq_layers_model_id_name UNIQUE (model_id, name);
ALTER TABLE ONLY public.layers
    ADD CONSTRAINT uq_layers_model_id_position UNIQUE (model_id, "position");
ALTER TABLE ONLY public.measured_formats
    ADD CONSTRAINT uq_measured_formats_model_id_setting_id_format_identity UNIQUE (model_id, setting_id, format_identity);
ALTER TABLE ONLY public.plan_events
    ADD CONSTRAINT uq_plan_events_model_id_name_version UNIQUE (model_id, name, version);
ALTER TABLE ONLY public.units
    ADD CONSTRAINT uq_units_job_id_key UNIQUE (job_id, key);
CREATE INDEX ix_api_keys_created_at ON public.api_keys USING btree (created_at);
CREATE INDEX ix_cells_layer_id ON public.cells USING btree (layer_id);
CREATE INDEX ix_evaluations_model_id ON public.evaluations USING btree (model_id);
CREATE INDEX ix_evaluations_plan_id ON public.evaluations USING btree (plan_id);
CREATE INDEX ix_idempotent_answers_created_at ON public.idempotent_answers USING btree (created_at);
CREATE INDEX ix_jobs_model_id ON public.jobs USING btree (model_id);
CREATE INDEX ix_jobs_state_created_at ON public.jobs USING btree (state, created_at);
CREATE INDEX ix_measured_formats_setting_id ON public.measured_formats USING btree (setting_id);
CREATE INDEX ix_models_created_at ON public.models USING btree (created_at);
CREATE INDEX ix_models_name ON public.models USING btree (name);
CREATE INDEX ix_plan_choices_sheet_id ON public.plan_choices USING btree (sheet_id);
CREATE INDEX ix_plan_events_model_id_id ON public.plan_events USING btree (model_id, id);
CREATE INDEX ix_plan_events_plan_id_id ON public.plan_events USING btree (plan_id, id);
CREATE INDEX ix_plan_names_name ON public.plan_names USING btree (name);
CREATE INDEX ix_plan_names_plan_id ON public.plan_names USING btree (plan_id);
CREATE INDEX ix_plan_sheets_model_id ON public.plan_sheets USING btree (model_id);
CREATE INDEX ix_plans_budget_kind_budget_value ON public.plans USING btree (budget_kind, budget_value);
CREATE INDEX ix_plans_budget_kind_created_at_id ON public.plans USING btree (budget_kind, created_at, id);
CREATE INDEX ix_plans_created_at_id ON public.plans USING btree (created_at, id);
CREATE INDEX ix_plans_model_id_created_at_id ON public.plans USING btree (model_id, created_at, id);
CREATE INDEX ix_plans_probe_created_at_id ON public.plans USING btree (probe, created_at, id);
CREATE INDEX ix_plans_runtime_created_at_id ON public.plans USING btree (runtime, created_at, id);
CREATE INDEX ix_probe_settings_probe ON public.probe_settings USING btree (probe);
CREATE INDEX ix_units_job_id_state_finished_at ON public.units USING btree (job_id, state, finished_at);
CREATE INDEX ix_units_job_id_state_id ON public.units USING btree (job_id, state, id);
CREATE INDEX ix_workers_last_seen ON public.workers USING btree (last_seen);
ALTER TABLE ONLY public.cells
    ADD CONSTRAINT fk_cells_layer_id_layers FOREIGN KEY (layer_id) REFERENCES public.layers(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.cells
    ADD CONSTRAINT fk_cells_measured_format_id_measured_formats FOREIGN KEY (measured_format_id) REFERENCES public.measured_formats(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT fk_evaluations_calibration_id_calibration_sets FOREIGN KEY (calibration_id) REFERENCES public.calibration_sets(id);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT fk_evaluations_job_id_jobs FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT fk_evaluations_model_id_models FOREIGN KEY (model_id) REFERENCES public.models(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT fk_evaluations_plan_id_plans FOREIGN KEY (plan_id) REFERENCES public.plans(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_model_id_models FOREIGN KEY (model_id) REFERENCES public.models(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.layer_drifts
    ADD CONSTRAINT fk_layer_drifts_layer_id_layers FOREIGN KEY (layer_id) REFERENCES public.layers(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.layers
    ADD CONSTRAINT fk_layers_model_id_models FOREIGN KEY (model_id) REFERENCES public.models(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.measured_formats
    ADD CONSTRAINT fk_measured_formats_model_id_models FOREIGN KEY (model_id) REFERENCES public.models(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.measured_formats
    ADD CONSTRAINT fk_measured_formats_setting_id_probe_settings FOREIGN KEY (setting_id) REFERENCES public.probe_settings(id);
ALTER TABLE ONLY public.operating_points
    ADD CONSTRAINT fk_operating_points_model_id_models FOREIGN KEY (model_id) REFERENCES public.models(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.operating_points
    ADD CONSTRAINT fk_operating_points_setting_id_probe_settings FOREIGN KEY (setting_id) REFERENCES public.probe_settings(id);
ALTER TABLE ONLY public.plan_choices
    ADD CONSTRAINT fk_plan_choices_plan_id_plans FOREIGN KEY (plan_id) REFERENCES public.plans(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.plan_choices
    ADD CONSTRAINT fk_plan_choices_sheet_id_plan_sheets FOREIGN KEY (sheet_id) REFERENCES public.plan_sheets(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.plan_documents
    ADD CONSTRAINT fk_plan_documents_plan_id_plans FOREIGN KEY (plan_id) REFERENCES public.plans(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.plan_names
    ADD CONSTRAINT fk_plan_names_model_id_models FOREIGN KEY (model_id) REFERENCES public.models(id);
ALTER TABLE ONLY public.plan_names
    ADD CONSTRAINT fk_plan_names_plan_id_plans FOREIGN KEY (plan_id) REFERENCES public.plans(id);
ALTER TABLE ONLY public.plan_pins
    ADD CONSTRAINT fk_plan_pins_plan_id_plans FOREIGN KEY (plan_id) REFERENCES public.plans(id);
ALTER TABLE ONLY public.plan_sheets
    ADD CONSTRAINT fk_plan_sheets_model_id_models FOREIGN KEY (model_id) REFERENCES public.models(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.plans
    ADD CONSTRAINT fk_plans_model_id_models FOREIGN KEY (model_id) REFERENCES public.models(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.plans
    ADD CONSTRAINT fk_plans_setting_id_probe_settings FOREIGN KEY (setting_id) REFERENCES public.probe_settings(id);
ALTER TABLE ONLY public.probe_settings
    ADD CONSTRAINT fk_probe_settings_calibration_id_calibration_sets FOREIGN KEY (calibration_id) REFERENCES public.calibration_sets(id);
ALTER TABLE ONLY public.score_products
    ADD CONSTRAINT fk_score_products_measured_format_id_measured_formats FOREIGN KEY (measured_format_id) REFERENCES public.measured_formats(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.units
    ADD CONSTRAINT fk_units_job_id_jobs FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
