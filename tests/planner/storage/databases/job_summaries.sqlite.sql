BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('job_summaries');
CREATE TABLE api_keys (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	digest BLOB NOT NULL, 
	scopes JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME, 
	last_used_at DATETIME, 
	revoked_at DATETIME, 
	CONSTRAINT pk_api_keys PRIMARY KEY (id)
);
INSERT INTO "api_keys" VALUES('id','name',X'789C6360C00F0000200001','{"made_up": 1}','2026-01-02 03:04:05.000000','2026-01-02 03:04:05.000000','2026-01-02 03:04:05.000000','2026-01-02 03:04:05.000000');
CREATE TABLE calibration_sets (
	id VARCHAR(64) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	source TEXT NOT NULL, 
	sequences INTEGER NOT NULL, 
	sequence_length INTEGER NOT NULL, 
	held_out_sequences INTEGER NOT NULL, 
	held_out_length INTEGER NOT NULL, 
	seed BIGINT NOT NULL, 
	characters BIGINT NOT NULL, 
	text BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_calibration_sets PRIMARY KEY (id)
);
INSERT INTO "calibration_sets" VALUES('fa217a4c5c923a40c03c2663210ebf1bed0b059c161cfd5314feb38fc93db56d','toy text','text of the request',4,32,2,32,0,6600,X'789CEDCAC10980301000B0556E029771020B2716D442AB084EEF187E9277E6FAE688A5673C5BDB33CEFB28D947B4354ABDC614B3200882200882200882200882200882200882F047F8002DE53FB8','2026-11-28 17:10:26.897695');
CREATE TABLE cells (
	measured_format_id INTEGER NOT NULL, 
	layer_id INTEGER NOT NULL, 
	status VARCHAR(20) NOT NULL, 
	loss FLOAT, 
	standard_error FLOAT, 
	samples FLOAT NOT NULL, 
	total FLOAT, 
	total_squares FLOAT, 
	job_id VARCHAR(32), 
	measured_at DATETIME NOT NULL, drift FLOAT, 
	CONSTRAINT pk_cells PRIMARY KEY (measured_format_id, layer_id), 
	CONSTRAINT ck_cells_loss_iff_measured CHECK ((status = 'measured') = (loss IS NOT NULL)), 
	CONSTRAINT fk_cells_layer_id_layers FOREIGN KEY(layer_id) REFERENCES layers (id) ON DELETE CASCADE, 
	CONSTRAINT fk_cells_measured_format_id_measured_formats FOREIGN KEY(measured_format_id) REFERENCES measured_formats (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "cells" VALUES(1,1,'measured',4.12858416916515175154e-03,4.12858416916515196838e-04,16.0,6.60573467066424280247e-02,3.13631813250612339651e-04,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(1,2,'measured',3.4370225855577252183e-03,3.43702258555772532672e-04,16.0,5.49923613689236034929e-02,2.17361486266863941337e-04,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(1,3,'measured',6.54308907918685605381e-03,6.54308907918685583697e-04,16.0,1.04689425266989696861e-01,7.87741070446407176675e-04,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(1,4,'measured',4.20320754924635546501e-03,4.20320754924635568185e-04,16.0,6.72513207879416874401e-02,3.25071948117564620689e-04,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(1,5,'measured',2.25704174859283528478e-03,2.2570417485928353932e-04,16.0,3.61126679774853645565e-02,9.37339691699944668398e-05,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(1,6,'measured',5.80850891285948287001e-03,5.80850891285948308685e-04,16.0,9.29361426057517259202e-02,6.20793474550132172093e-04,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(1,7,'measured',1.3359502838077387532e-02,1.33595028380773883994e-03,16.0,2.13752045409238200512e-01,3.28396421588299887092e-03,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(2,1,'measured',1.94784848035150746914e-02,1.94784848035150755587e-03,16.0,3.11655756856241195063e-01,6.98116921243012531622e-03,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(2,2,'measured',1.2864092282046475299e-02,1.2864092282046475299e-03,16.0,2.05825476512743604784e-01,3.04492161243454179456e-03,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(2,3,'measured',2.90034758491800950808e-02,2.90034758491800959481e-03,16.0,4.64055613586881521293e-01,1.54781096485451033495e-02,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(2,4,'measured',1.64339022998445140333e-02,1.64339022998445140333e-03,16.0,2.62942436797512224533e-01,0.00496934586433536,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(2,5,'measured',1.01498016092048184977e-02,1.01498016092048176303e-03,16.0,1.62396825747277095963e-01,1.89553989779438756581e-03,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(2,6,'measured',2.09879357213854159103e-02,2.09879357213854167776e-03,16.0,3.35806971542166654565e-01,0.00810507940354811,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(2,7,'measured',5.81062639052142074214e-02,5.81062639052142091561e-03,16.0,9.29700222483427318742e-01,6.2124617452412156382e-02,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(3,1,'measured',1.52464050828784678792e-05,1.52464050828784674568e-06,16.0,2.43942481326055486071e-04,4.27713277030249232769e-09,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(3,2,'measured',1.05967540047041083504e-05,1.05967540047041087732e-06,16.0,1.69548064075265733597e-04,2.06615799602631120251e-09,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(3,3,'measured',2.69060611820194180068e-05,2.69060611820194163132e-06,16.0,4.30496978912310688126e-04,1.3320424761282528553e-08,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(3,4,'measured',1.76585280053356472301e-05,1.76585280053356468072e-06,16.0,2.82536448085370355681e-04,5.73755444820011e-09,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(3,5,'measured',1.02382698246492733027e-05,1.02382698246492737266e-06,16.0,1.63812317194388372843e-04,1.92872790964275911181e-09,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(3,6,'measured',2.39770648473271516662e-05,2.39770648473271499726e-06,16.0,3.83633037557234426659e-04,1.05781533519499365862e-08,NULL,'2026-11-28 17:10:26.936782',NULL);
INSERT INTO "cells" VALUES(3,7,'measured',5.12637142072544814202e-05,5.12637142072544797289e-06,16.0,8.20219427316071702724e-04,4.83546184555444e-08,NULL,'2026-11-28 17:10:26.936782',NULL);
CREATE TABLE devices (
	name VARCHAR(100) NOT NULL, 
	facts JSON NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	latencies BLOB, 
	measured_entries INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_devices PRIMARY KEY (name)
);
INSERT INTO "devices" VALUES('toy-device','{"name": "toy-device", "description": "", "pools": [{"name": "ram", "bandwidth": {"value": 10000000000.0, "source": "", "status": "unverified"}, "size": null}], "peaks": {"bf16": {"value": 1000000000000.0, "source": "", "status": "unverified"}}, "kernel_seconds": {"value": 0.0, "source": "", "status": "unverified"}, "bandwidth_share": {"value": 0.7, "source": "assumed: 0.6 to 0.85 is usual", "status": "unverified"}}','4721bdac6865045d2bb12c1d212894eda981a6a14e16edac8b3eace5e087e141',X'789C5D8EC10AC2400C44FF25E722558A487F40BC78F2266589DD945D6837924DF550FAEF6629BD9853783393C9026FE19E72668116A0020D42E833B4691EC70A320FFA45A14D9C4803FB7DC73C0B7987BA9B29A944B2EC73019ED50D846A1603C7D3A58298FEC9C0329538DCEE8FC65DCF8DDD7DA1F6C174EBA69E5379A53ED4368528268FE29DA74F448D9CB6EAB55B7F39AB4242',1,'2026-11-28 17:10:27.175370');
CREATE TABLE evaluations (
	id INTEGER NOT NULL, 
	job_id VARCHAR(32) NOT NULL, 
	model_id VARCHAR(64) NOT NULL, 
	plan_id VARCHAR(32), 
	calibration_id VARCHAR(64) NOT NULL, 
	label VARCHAR(100) NOT NULL, 
	size_bits BIGINT NOT NULL, 
	effective_bits FLOAT NOT NULL, 
	kl FLOAT NOT NULL, 
	kl_error FLOAT, 
	perplexity FLOAT NOT NULL, 
	perplexity_error FLOAT, 
	reference_perplexity FLOAT NOT NULL, 
	reference_perplexity_error FLOAT, 
	top1_agreement FLOAT NOT NULL, 
	top1_error FLOAT, 
	sequences INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, router_flips FLOAT, router_flips_error FLOAT, 
	CONSTRAINT pk_evaluations PRIMARY KEY (id), 
	CONSTRAINT fk_evaluations_calibration_id_calibration_sets FOREIGN KEY(calibration_id) REFERENCES calibration_sets (id), 
	CONSTRAINT fk_evaluations_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE, 
	CONSTRAINT fk_evaluations_model_id_models FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE, 
	CONSTRAINT fk_evaluations_plan_id_plans FOREIGN KEY(plan_id) REFERENCES plans (id) ON DELETE CASCADE, 
	CONSTRAINT uq_evaluations_job_id_label UNIQUE (job_id, label)
);
INSERT INTO "evaluations" VALUES(1,'id','0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385','8a2f18764534d875a25a8e2c','fa217a4c5c923a40c03c2663210ebf1bed0b059c161cfd5314feb38fc93db56d','plan',1,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,1,'2026-01-02 03:04:05.000000',0.5,0.5);
CREATE TABLE idempotent_answers (
	owner VARCHAR(32) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	request_digest BLOB NOT NULL, 
	status INTEGER NOT NULL, 
	headers JSON NOT NULL, 
	body BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_idempotent_answers PRIMARY KEY (owner, "key")
);
INSERT INTO "idempotent_answers" VALUES('owner','key',X'789C6360C00F0000200001',1,'{"made_up": 1}',X'789C6360C00F0000200001','2026-01-02 03:04:05.000000');
CREATE TABLE jobs (
	id VARCHAR(32) NOT NULL, 
	kind VARCHAR(30) NOT NULL, 
	model_id VARCHAR(64) NOT NULL, 
	payload JSON NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	priority INTEGER NOT NULL, 
	reason TEXT, 
	total INTEGER, 
	done INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	lease_owner VARCHAR(100), 
	lease_token VARCHAR(32), 
	lease_until DATETIME, 
	created_at DATETIME NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, label VARCHAR(60), memory_bytes BIGINT, sequential BOOLEAN DEFAULT 0 NOT NULL, forecast_seconds FLOAT, unit_seconds FLOAT DEFAULT '0' NOT NULL, summary JSON DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT fk_jobs_model_id_models FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE
);
INSERT INTO "jobs" VALUES('id','sensitivity','0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385','{"made_up": 1}','succeeded',1,'reason',1,1,1,1,'lease_owner','lease_token','2026-01-02 03:04:05.000000','2026-01-02 03:04:05.000000','2026-01-02 03:04:05.000000','2026-01-02 03:04:05.000000','plan',1,1,0.5,0.5,'{"made_up": 1}');
CREATE TABLE layer_drifts (
	layer_id INTEGER NOT NULL, 
	reference_id VARCHAR(64) NOT NULL, 
	change FLOAT, 
	measured_at DATETIME NOT NULL, 
	CONSTRAINT pk_layer_drifts PRIMARY KEY (layer_id, reference_id), 
	CONSTRAINT fk_layer_drifts_layer_id_layers FOREIGN KEY(layer_id) REFERENCES layers (id) ON DELETE CASCADE
);
INSERT INTO "layer_drifts" VALUES(1,'reference_id',0.5,'2026-01-02 03:04:05.000000');
CREATE TABLE layers (
	id INTEGER NOT NULL, 
	model_id VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR(300) NOT NULL, 
	kind VARCHAR(60) NOT NULL, 
	block INTEGER, 
	expert INTEGER, 
	out_features INTEGER NOT NULL, 
	in_features INTEGER NOT NULL, 
	active_fraction FLOAT NOT NULL, 
	CONSTRAINT pk_layers PRIMARY KEY (id), 
	CONSTRAINT fk_layers_model_id_models FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE, 
	CONSTRAINT uq_layers_model_id_name UNIQUE (model_id, name), 
	CONSTRAINT uq_layers_model_id_position UNIQUE (model_id, position)
);
INSERT INTO "layers" VALUES(1,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385',0,'model.layers.0.self_attn.q_proj','q_proj',0,NULL,128,128,1.0);
INSERT INTO "layers" VALUES(2,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385',1,'model.layers.0.self_attn.k_proj','k_proj',0,NULL,64,128,1.0);
INSERT INTO "layers" VALUES(3,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385',2,'model.layers.0.self_attn.v_proj','v_proj',0,NULL,64,128,1.0);
INSERT INTO "layers" VALUES(4,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385',3,'model.layers.0.self_attn.o_proj','o_proj',0,NULL,128,128,1.0);
INSERT INTO "layers" VALUES(5,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385',4,'model.layers.0.mlp.gate_proj','gate_proj',0,NULL,256,128,1.0);
INSERT INTO "layers" VALUES(6,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385',5,'model.layers.0.mlp.up_proj','up_proj',0,NULL,256,128,1.0);
INSERT INTO "layers" VALUES(7,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385',6,'model.layers.0.mlp.down_proj','down_proj',0,NULL,128,256,1.0);
INSERT INTO "layers" VALUES(8,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385',7,'lm_head','lm_head',NULL,NULL,256,128,1.0);
CREATE TABLE measured_formats (
	id INTEGER NOT NULL, 
	model_id VARCHAR(64) NOT NULL, 
	setting_id VARCHAR(64) NOT NULL, 
	format VARCHAR(60) NOT NULL, 
	format_identity VARCHAR(64) NOT NULL, 
	measured_at DATETIME NOT NULL, 
	CONSTRAINT pk_measured_formats PRIMARY KEY (id), 
	CONSTRAINT fk_measured_formats_model_id_models FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE, 
	CONSTRAINT fk_measured_formats_setting_id_probe_settings FOREIGN KEY(setting_id) REFERENCES probe_settings (id), 
	CONSTRAINT uq_measured_formats_model_id_setting_id_format_identity UNIQUE (model_id, setting_id, format_identity)
);
INSERT INTO "measured_formats" VALUES(1,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385','6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325','INT4_G64','14d1df234fd0393b814957633524780eb08ad5fbdc6be658c15f007d162f378b','2026-11-28 17:10:26.936782');
INSERT INTO "measured_formats" VALUES(2,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385','6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325','INT3_G64','3798e3057a47cdea7ebd1d4949aff9684a3c54e0eed57ecbd5fade9e1d09c319','2026-11-28 17:10:26.936782');
INSERT INTO "measured_formats" VALUES(3,'0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385','6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325','INT8_G64','c72648afbe112f574e3cb3c76b6eacea1acb8a41483484e370c62c9a5029362a','2026-11-28 17:10:26.936782');
CREATE TABLE models (
	id VARCHAR(64) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	source TEXT NOT NULL, 
	path TEXT NOT NULL, 
	revision VARCHAR(100), 
	kind VARCHAR(20) NOT NULL, 
	architecture VARCHAR(100) NOT NULL, 
	dtype VARCHAR(20) NOT NULL, 
	blocks INTEGER NOT NULL, 
	parameters BIGINT NOT NULL, 
	unquantized_bytes BIGINT NOT NULL, 
	kv_elements_per_token BIGINT NOT NULL, 
	vocab_size INTEGER NOT NULL, 
	context_length INTEGER, 
	created_at DATETIME NOT NULL, heads INTEGER, kv_heads INTEGER, rest JSON, tokenizer_bytes BIGINT, 
	CONSTRAINT pk_models PRIMARY KEY (id)
);
INSERT INTO "models" VALUES('0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385','toy','/models/toy','/models/toy',NULL,'safetensors','llama','bfloat16',1,212992,65536,128,256,2048,'2026-11-28 17:10:26.821623',NULL,NULL,NULL,NULL);
CREATE TABLE operating_points (
	model_id VARCHAR(64) NOT NULL, 
	setting_id VARCHAR(64) NOT NULL, 
	layers JSON NOT NULL, 
	loss FLOAT NOT NULL, 
	standard_error FLOAT, 
	samples FLOAT NOT NULL, 
	job_id VARCHAR(32), 
	measured_at DATETIME NOT NULL, 
	CONSTRAINT pk_operating_points PRIMARY KEY (model_id, setting_id), 
	CONSTRAINT fk_operating_points_model_id_models FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE, 
	CONSTRAINT fk_operating_points_setting_id_probe_settings FOREIGN KEY(setting_id) REFERENCES probe_settings (id)
);
INSERT INTO "operating_points" VALUES('0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385','6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325','{"made_up": 1}',0.5,0.5,0.5,'job_id','2026-01-02 03:04:05.000000');
CREATE TABLE plan_documents (
	plan_id VARCHAR(32) NOT NULL, 
	document TEXT NOT NULL, 
	CONSTRAINT pk_plan_documents PRIMARY KEY (plan_id), 
	CONSTRAINT fk_plan_documents_plan_id_plans FOREIGN KEY(plan_id) REFERENCES plans (id) ON DELETE CASCADE
);
INSERT INTO "plan_documents" VALUES('8a2f18764534d875a25a8e2c','{"id":"8a2f18764534d875a25a8e2c","created_at":"2026-11-28T17:10:27.117018Z","model":"0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385","model_name":"toy","runtime":"generic","formats":["INT3_G64","INT4_G64","INT8_G64"],"budget":{"effective_bits":4.5,"file_bytes":null,"resident_bytes":null,"decode_seconds":null,"prefill_seconds":null,"bit_operations":null,"pool_bytes":null,"max_loss":null,"device":null,"context":0,"batch":1,"workspace_bytes":0},"size":{"layer_bits":659456,"effective_bits":4.472222222222222,"tensor_bytes":213504,"container_bytes":null,"file_bytes":213504,"kv_bytes":0,"resident_bytes":213504},"predicted":{"loss":0.03322077386468096,"standard_error":0.0016243008910295585,"unit":"nats/token","probe":"fisher","step":null,"cross_terms":null},"proof":{"status":"optimal","advice":"Use it: no choice within the budget has a smaller loss.","lower_bound":0.03322077386468096,"gap":0.0,"multiplier":1.0456621800393741e-7,"lagrangian_bound":0.03279247063573683,"budget_layer_bits":663552,"slack_bits":4096,"solver":"mckp","solve_seconds":0.0007119959991541691,"caution":0.0,"objective":null,"direction":{},"counts":[],"smallest":null},"binding":"effective_bits","price_per_megabyte":0.8365297440314993,"references":[{"label":"uniform INT4_G64","format":"INT4_G64","loss":0.03973695688268579,"size":{"layer_bits":626688,"effective_bits":4.25,"tensor_bytes":209408,"container_bytes":null,"file_bytes":209408,"kv_bytes":0,"resident_bytes":209408},"keeps_counts":true,"kv_formats":null,"corrected_loss":null}],"choices":[{"layer":"model.layers.0.self_attn.q_proj","kind":"q_proj","block":0,"group":0,"format":"INT4_G64","size_bits":69632},{"layer":"model.layers.0.self_attn.k_proj","kind":"k_proj","block":0,"group":1,"format":"INT4_G64","size_bits":34816},{"layer":"model.layers.0.self_attn.v_proj","kind":"v_proj","block":0,"group":2,"format":"INT8_G64","size_bits":67584},{"layer":"model.layers.0.self_attn.o_proj","kind":"o_proj","block":0,"group":3,"format":"INT4_G64","size_bits":69632},{"layer":"model.layers.0.mlp.gate_proj","kind":"gate_proj","block":0,"group":4,"format":"INT4_G64","size_bits":139264},{"layer":"model.layers.0.mlp.up_proj","kind":"up_proj","block":0,"group":5,"format":"INT4_G64","size_bits":139264},{"layer":"model.layers.0.mlp.down_proj","kind":"down_proj","block":0,"group":6,"format":"INT4_G64","size_bits":139264}],"groups":[{"layers":["model.layers.0.self_attn.q_proj"],"format":"INT4_G64","size_bits":69632,"predicted_loss":0.004128584169165152,"standard_error":0.0004128584169165152,"next_up":{"format":"INT8_G64","more_bits":65536,"loss_change":-0.004113337764082273},"fragile":false},{"layers":["model.layers.0.self_attn.k_proj"],"format":"INT4_G64","size_bits":34816,"predicted_loss":0.0034370225855577252,"standard_error":0.00034370225855577253,"next_up":{"format":"INT8_G64","more_bits":32768,"loss_change":-0.003426425831553021},"fragile":true},{"layers":["model.layers.0.self_attn.v_proj"],"format":"INT8_G64","size_bits":67584,"predicted_loss":0.000026906061182019418,"standard_error":2.6906061182019416e-6,"next_up":null,"fragile":false},{"layers":["model.layers.0.self_attn.o_proj"],"format":"INT4_G64","size_bits":69632,"predicted_loss":0.0042032075492463555,"standard_error":0.00042032075492463557,"next_up":{"format":"INT8_G64","more_bits":65536,"loss_change":-0.00418554902124102},"fragile":false},{"layers":["model.layers.0.mlp.gate_proj"],"format":"INT4_G64","size_bits":139264,"predicted_loss":0.0022570417485928353,"standard_error":0.00022570417485928354,"next_up":{"format":"INT8_G64","more_bits":131072,"loss_change":-0.002246803478768186},"fragile":false},{"layers":["model.layers.0.mlp.up_proj"],"format":"INT4_G64","size_bits":139264,"predicted_loss":0.005808508912859483,"standard_error":0.0005808508912859483,"next_up":{"format":"INT8_G64","more_bits":131072,"loss_change":-0.005784531848012156},"fragile":false},{"layers":["model.layers.0.mlp.down_proj"],"format":"INT4_G64","size_bits":139264,"predicted_loss":0.013359502838077388,"standard_error":0.0013359502838077388,"next_up":{"format":"INT8_G64","more_bits":131072,"loss_change":-0.013308239123870132},"fragile":true}],"ignored":["lm_head"],"notes":["the errors of these fisher cells do not tell luck from truth: the loss of a chosen plan may be too low"],"provenance":{"fingerprint":"0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385","setting":"6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325","probe":"fisher","probe_version":1,"probe_parameters":{"made_up":"yes"},"rounding":"rtn","calibration":"fa217a4c5c923a40c03c2663210ebf1bed0b059c161cfd5314feb38fc93db56d","bitplan":"0.1.0","kv_setting":null,"device":null},"request":{"runtime":"generic","ignore":null,"pins":{},"floors":{},"ceilings":{},"menus":{},"experts":"free","model":"toy","formats":null,"probe":null,"setting":null,"rounding":null,"kv_formats":null,"kv_setting":null,"step_errors":2.0,"shrinkage":true,"budget":{"effective_bits":4.5,"file_bytes":null,"resident_bytes":null,"decode_seconds":null,"prefill_seconds":null,"bit_operations":null,"pool_bytes":null,"max_loss":null,"device":null,"context":0,"batch":1,"workspace_bytes":0},"deadline_seconds":5.0,"allow_slack":false,"counts":[],"caution":0.0,"alternatives":0,"alternative_layers":null},"alternatives":[],"corrected":null,"menu_limit":null,"confidence":{"additivity":"usual","reasons":[]},"limits":[{"kind":"effective_bits","device":null,"pool":null,"limit":4.5,"used":4.472222222222222,"slack":0.02777777777777768,"binds":true,"price":0.015418916241988595,"multiplier":1.0456621800393741e-7,"whole_units":663552,"whole_used":659456,"least":3.25,"most":8.25}],"kv":[],"kv_groups":[],"kv_formats":[],"placement":[]}');
CREATE TABLE plan_events (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	who VARCHAR(300) NOT NULL, 
	action VARCHAR(20) NOT NULL, 
	model_id VARCHAR(64) NOT NULL, 
	plan_id VARCHAR(32) NOT NULL, 
	name VARCHAR(100), 
	version INTEGER, 
	supersedes VARCHAR(32), 
	why VARCHAR(500) NOT NULL, 
	CONSTRAINT pk_plan_events PRIMARY KEY (id), 
	CONSTRAINT uq_plan_events_model_id_name_version UNIQUE (model_id, name, version)
);
INSERT INTO "plan_events" VALUES(1,'2026-01-02 03:04:05.000000','who','action','model_id','plan_id','name',1,'supersedes','why');
CREATE TABLE plan_names (
	model_id VARCHAR(64) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	plan_id VARCHAR(32) NOT NULL, 
	version INTEGER NOT NULL, 
	since DATETIME NOT NULL, 
	who VARCHAR(300) NOT NULL, 
	why VARCHAR(500) NOT NULL, 
	CONSTRAINT pk_plan_names PRIMARY KEY (model_id, name), 
	CONSTRAINT fk_plan_names_model_id_models FOREIGN KEY(model_id) REFERENCES models (id), 
	CONSTRAINT fk_plan_names_plan_id_plans FOREIGN KEY(plan_id) REFERENCES plans (id)
);
INSERT INTO "plan_names" VALUES('0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385','name','8a2f18764534d875a25a8e2c',1,'2026-01-02 03:04:05.000000','who','why');
CREATE TABLE plan_pins (
	plan_id VARCHAR(32) NOT NULL, 
	since DATETIME NOT NULL, 
	who VARCHAR(300) NOT NULL, 
	why VARCHAR(500) NOT NULL, 
	CONSTRAINT pk_plan_pins PRIMARY KEY (plan_id), 
	CONSTRAINT fk_plan_pins_plan_id_plans FOREIGN KEY(plan_id) REFERENCES plans (id)
);
INSERT INTO "plan_pins" VALUES('8a2f18764534d875a25a8e2c','2026-01-02 03:04:05.000000','who','why');
CREATE TABLE plans (
	id VARCHAR(32) NOT NULL, 
	model_id VARCHAR(64) NOT NULL, 
	setting_id VARCHAR(64) NOT NULL, 
	runtime VARCHAR(40) NOT NULL, 
	solver VARCHAR(40) NOT NULL, 
	status VARCHAR(20) NOT NULL, 
	budget_kind VARCHAR(30) NOT NULL, 
	budget_value FLOAT NOT NULL, 
	size_bits BIGINT NOT NULL, 
	file_bytes BIGINT NOT NULL, 
	effective_bits FLOAT NOT NULL, 
	predicted_loss FLOAT NOT NULL, 
	gap FLOAT NOT NULL, 
	created_at DATETIME NOT NULL, probe VARCHAR(60) DEFAULT '' NOT NULL, rounding VARCHAR(60) DEFAULT '' NOT NULL, budget JSON DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_plans PRIMARY KEY (id), 
	CONSTRAINT fk_plans_model_id_models FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE, 
	CONSTRAINT fk_plans_setting_id_probe_settings FOREIGN KEY(setting_id) REFERENCES probe_settings (id)
);
INSERT INTO "plans" VALUES('8a2f18764534d875a25a8e2c','0f53133ce57ca8e8937bb4b1c15a33ef9594704e1c11abd58e598bb8362f7385','6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325','generic','mckp','optimal','effective_bits',4.5,659456,213504,4.4722222222222223209e+00,3.32207738646809608296e-02,0.0,'2026-11-28 17:10:27.117018','fisher','rtn','{"effective_bits": 4.5, "file_bytes": null, "resident_bytes": null, "decode_seconds": null, "prefill_seconds": null, "bit_operations": null, "pool_bytes": null, "max_loss": null, "device": null, "context": 0, "batch": 1, "workspace_bytes": 0}');
CREATE TABLE probe_settings (
	id VARCHAR(64) NOT NULL, 
	probe VARCHAR(60) NOT NULL, 
	code_version INTEGER NOT NULL, 
	rounding VARCHAR(60) NOT NULL, 
	rounding_version INTEGER NOT NULL, 
	calibration_id VARCHAR(64), 
	parameters JSON NOT NULL, 
	in_nats BOOLEAN NOT NULL, 
	additive BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_probe_settings PRIMARY KEY (id), 
	CONSTRAINT fk_probe_settings_calibration_id_calibration_sets FOREIGN KEY(calibration_id) REFERENCES calibration_sets (id)
);
INSERT INTO "probe_settings" VALUES('6c6d33e62ec7d575bd58f4039c9152cb506e7ee9a45e40ae1a1ecc1605297325','fisher',1,'rtn',1,'fa217a4c5c923a40c03c2663210ebf1bed0b059c161cfd5314feb38fc93db56d','{"made_up": "yes"}',1,1,'2026-11-28 17:10:26.952376');
CREATE TABLE score_products (
	measured_format_id INTEGER NOT NULL, 
	sequences INTEGER NOT NULL, 
	draws INTEGER NOT NULL, 
	products BLOB NOT NULL, 
	job_id VARCHAR(32), 
	measured_at DATETIME NOT NULL, 
	CONSTRAINT pk_score_products PRIMARY KEY (measured_format_id), 
	CONSTRAINT fk_score_products_measured_format_id_measured_formats FOREIGN KEY(measured_format_id) REFERENCES measured_formats (id) ON DELETE CASCADE
);
INSERT INTO "score_products" VALUES(1,1,1,X'789C6360C00F0000200001','job_id','2026-01-02 03:04:05.000000');
CREATE TABLE units (
	id INTEGER NOT NULL, 
	job_id VARCHAR(32) NOT NULL, 
	"key" VARCHAR(100) NOT NULL, 
	payload JSON NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	reason TEXT, 
	attempts INTEGER NOT NULL, 
	lease_owner VARCHAR(100), 
	lease_token VARCHAR(32), 
	lease_until DATETIME, 
	result BLOB, 
	seconds FLOAT, 
	finished_at DATETIME, 
	CONSTRAINT pk_units PRIMARY KEY (id), 
	CONSTRAINT fk_units_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE, 
	CONSTRAINT uq_units_job_id_key UNIQUE (job_id, "key")
);
INSERT INTO "units" VALUES(1,'id','key','{"made_up": 1}','succeeded','reason',1,'lease_owner','lease_token','2026-01-02 03:04:05.000000',X'789C6360C00F0000200001',0.5,'2026-01-02 03:04:05.000000');
CREATE TABLE workers (
	id VARCHAR(100) NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid BIGINT NOT NULL, 
	kinds JSON NOT NULL, 
	labels JSON NOT NULL, 
	memory_bytes BIGINT, 
	lease_seconds FLOAT NOT NULL, 
	draining BOOLEAN NOT NULL, 
	started_at DATETIME NOT NULL, 
	last_seen DATETIME NOT NULL, 
	stopped_at DATETIME, 
	CONSTRAINT pk_workers PRIMARY KEY (id)
);
INSERT INTO "workers" VALUES('id','host',1,'{"made_up": 1}','{"made_up": 1}',1,0.5,1,'2026-01-02 03:04:05.000000','2026-01-02 03:04:05.000000','2026-01-02 03:04:05.000000');
CREATE INDEX ix_models_created_at ON models (created_at);
CREATE INDEX ix_models_name ON models (name);
CREATE INDEX ix_jobs_model_id ON jobs (model_id);
CREATE INDEX ix_jobs_state_created_at ON jobs (state, created_at);
CREATE INDEX ix_probe_settings_probe ON probe_settings (probe);
CREATE INDEX ix_measured_formats_setting_id ON measured_formats (setting_id);
CREATE INDEX ix_cells_layer_id ON cells (layer_id);
CREATE INDEX ix_evaluations_model_id ON evaluations (model_id);
CREATE INDEX ix_evaluations_plan_id ON evaluations (plan_id);
CREATE INDEX ix_api_keys_created_at ON api_keys (created_at);
CREATE INDEX ix_idempotent_answers_created_at ON idempotent_answers (created_at);
CREATE INDEX ix_plans_created_at_id ON plans (created_at, id);
CREATE INDEX ix_plans_model_id_created_at_id ON plans (model_id, created_at, id);
CREATE INDEX ix_plans_runtime_created_at_id ON plans (runtime, created_at, id);
CREATE INDEX ix_plans_probe_created_at_id ON plans (probe, created_at, id);
CREATE INDEX ix_plans_budget_kind_created_at_id ON plans (budget_kind, created_at, id);
CREATE INDEX ix_plans_budget_kind_budget_value ON plans (budget_kind, budget_value);
CREATE INDEX ix_plan_names_plan_id ON plan_names (plan_id);
CREATE INDEX ix_plan_names_name ON plan_names (name);
CREATE INDEX ix_plan_events_model_id_id ON plan_events (model_id, id);
CREATE INDEX ix_plan_events_plan_id_id ON plan_events (plan_id, id);
CREATE INDEX ix_units_job_id_state_id ON units (job_id, state, id);
CREATE INDEX ix_workers_last_seen ON workers (last_seen);
COMMIT;
