package controllers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/assetplatform/assetplatform/internal/config"
)

// admission is a rule with what it admits and what it refuses.
type admission struct {
	field   string // as the refusal names it
	message string // part of the refusal: the remedy
	accept  []string
	reject  []string
	old     string // of transition rules: the spec before
	name    string // of the platform
}

// admissions are all rules of the API; specs are YAML.
func admissions() []admission {
	list := []admission{
		{field: "", message: "metadata.name: use at most 63 lower-case letters", name: "1studio", reject: []string{"{}"}},
		{field: "", message: "metadata.name: use at most 63 lower-case letters", name: "a.b", reject: []string{"{}"}},
		{field: "", message: "metadata.name: use at most 63 lower-case letters", name: strings.Repeat("x", 64), reject: []string{"{}"}},
		{field: "", message: "metadata.name", name: strings.Repeat("x", 63), accept: []string{"{}"}},
		{
			field: "spec.imagePullSecrets[0]", message: "name: not the name of a Secret: use lower-case letters, digits, '-' and '.', like registry",
			accept: []string{"imagePullSecrets: [{name: registry}, {name: registry.example.com}]"},
			reject: []string{"imagePullSecrets: [{name: Registry}]", "imagePullSecrets: [{name: a b}]", "imagePullSecrets: [{}]", "imagePullSecrets: [{name: " + strings.Repeat("x", 254) + "}]"},
		},
		{field: "spec.imagePullSecrets[1]", message: "Duplicate value", reject: []string{"imagePullSecrets: [{name: registry}, {name: registry}]"}},
		{
			field: "spec.resources", message: "resources: a request of cpu, memory or ephemeral-storage is above its limit; lower the request or raise the limit",
			accept: []string{
				"resources: {requests: {cpu: 1000m, memory: 1Gi}, limits: {cpu: 1, memory: 1024Mi}}", "resources: {requests: {cpu: 8}}",
				"resources: {limits: {memory: 1Gi}}", "resources: {requests: {cpu: 8}, limits: {memory: 1Gi}}", "resources: {}",
			},
			reject: []string{
				"resources: {requests: {cpu: 1001m}, limits: {cpu: 1}}", "resources: {requests: {cpu: 100m, memory: 1Gi}, limits: {cpu: 1, memory: 1G}}",
				"resources: {requests: {ephemeral-storage: 2Gi}, limits: {ephemeral-storage: 1Gi}}",
			},
		},
		{
			field: "spec.resources", message: "resources.requests: takes cpu, memory and ephemeral-storage; leave out the others, the API has no use for them",
			accept: []string{"resources: {requests: {cpu: 1, memory: 1Gi, ephemeral-storage: 1Gi}}", "resources: {requests: {ephemeral-storage: 1Gi}}", "resources: {requests: {}}"},
			reject: []string{"resources: {requests: {nvidia.com/gpu: 1}}", "resources: {requests: {cpu: 1, hugepages-2Mi: 2Mi}}", "resources: {requests: {CPU: 1, memory: 1Gi}}"},
		},
		{
			field: "spec.resources", message: "resources.limits: takes cpu, memory and ephemeral-storage; leave out the others, the API has no use for them",
			accept: []string{"resources: {limits: {cpu: 1, memory: 1Gi, ephemeral-storage: 1Gi}}", "resources: {limits: {}}"},
			reject: []string{"resources: {limits: {foo: 1}}", "resources: {limits: {hugepages-2Mi: 2Mi}}", "resources: {requests: {nvidia.com/gpu: 1}, limits: {nvidia.com/gpu: 1}}", `resources: {limits: {"": 1}}`},
		},
		{
			field: "spec.resources", message: "resources.requests: write at least 1m of cpu, 1Mi of memory and 1Mi of ephemeral-storage, or leave the request out",
			accept: []string{"resources: {requests: {cpu: 1m, memory: 1Mi, ephemeral-storage: 1Mi}}", "resources: {requests: {cpu: '0.001', memory: 1048576}}", "resources: {requests: {memory: '1e9'}}"},
			reject: []string{"resources: {requests: {cpu: 0}}", "resources: {requests: {cpu: -1}}", "resources: {requests: {cpu: 999u}}", "resources: {requests: {memory: 512m}}", `resources: {requests: {ephemeral-storage: "-1Gi"}}`},
		},
		{
			field: "spec.resources", message: "resources.limits: write at least 1m of cpu, 6Mi of memory and 1Mi of ephemeral-storage, or leave the limit out",
			accept: []string{"resources: {limits: {cpu: 1m, memory: 6Mi, ephemeral-storage: 1Mi}}", "resources: {requests: {memory: 7Mi}, limits: {memory: 7Mi}}"},
			reject: []string{`resources: {limits: {cpu: "-1"}}`, "resources: {limits: {cpu: 0}}", "resources: {limits: {memory: 100m}}", "resources: {limits: {memory: 6143Ki}}", "resources: {limits: {memory: 256}}", "resources: {limits: {ephemeral-storage: 0}}"},
		},
		{
			field: "spec.resources", message: "resources.claims: the pods have no resource claims to name; leave it out",
			accept: []string{"resources: {claims: []}"}, reject: []string{"resources: {claims: [{name: gpu}]}"},
		},
		{field: "spec.replicas", message: "should be greater than or equal to 0", accept: []string{"replicas: 0", "replicas: 1000"}, reject: []string{"replicas: -1"}},
		{field: "spec.replicas", message: "should be less than or equal to 1000", reject: []string{"replicas: 1001"}},
		{field: "spec.server.logLevel", message: `supported values: "debug", "info", "warn", "error"`, accept: []string{"server: {logLevel: warn}"}, reject: []string{"server: {logLevel: loud}"}},
		{
			field: "spec.server.allowedOrigins[0]", message: "not an origin: write scheme and host without a path, like https://yourdomain.com",
			accept: []string{`server: {allowedOrigins: ["*"]}`, "server: {allowedOrigins: [https://a.example:8443, http://localhost]}"},
			reject: []string{"server: {allowedOrigins: [https://a.example/]}", "server: {allowedOrigins: [a.example]}", `server: {allowedOrigins: ["https://a,https://b"]}`},
		},
		{
			field: "spec.server.maxFileSize.image", message: "must be a whole number of bytes from 1 to 8E, like 10Mi",
			accept: []string{
				"server: {maxFileSize: {image: 10Mi}}", "server: {maxFileSize: {image: 1}}", "server: {maxFileSize: {image: 1.5Gi}}", "server: {maxFileSize: {image: 0.125Ki}}",
				"server: {maxFileSize: {image: 1.1G}}", "server: {maxFileSize: {image: 1000m}}", "server: {maxFileSize: {image: 9007199254740993}}", "server: {maxFileSize: {image: 8E}}",
			},
			reject: []string{
				"server: {maxFileSize: {image: 0}}", "server: {maxFileSize: {image: 500m}}", `server: {maxFileSize: {image: "-1"}}`, "server: {maxFileSize: {image: 1.1Gi}}",
				"server: {maxFileSize: {image: 1500m}}", "server: {maxFileSize: {image: 9E}}", "server: {maxFileSize: {image: 100E}}",
			},
		},
		{
			field: "spec.server.maxFileSize.audio", message: "must be a whole number of bytes from 1 to 8E, like 50Mi",
			accept: []string{"server: {maxFileSize: {audio: 1536Mi}}", "server: {maxFileSize: {audio: 1.5Gi}}"}, reject: []string{"server: {maxFileSize: {audio: 500m}}", "server: {maxFileSize: {audio: 8Ei}}"},
		},
		{
			field: "spec.server.trustedProxies[0]", message: "not a CIDR: write an address and a prefix length, like 10.0.0.0/8",
			accept: []string{`server: {trustedProxies: [10.0.0.0/8, "fd00::/8"]}`}, reject: []string{"server: {trustedProxies: [10.0.0.1]}", "server: {trustedProxies: [10.0.0.0/33]}"},
		},
		{
			field: "spec.server.trashRetention", message: "not a duration of at most ten years: write it like 720h, 90m or 30s, up to 87600h",
			accept: []string{"server: {trashRetention: 0s}", "server: {trashRetention: 1h30m}", "server: {trashRetention: 87600h}"},
			reject: []string{
				"server: {trashRetention: 30 days}", "server: {trashRetention: -1h}", "server: {trashRetention: 30d}",
				"server: {trashRetention: 87600h1s}", "server: {trashRetention: 99999999h}", "server: {trashRetention: 99999h9999999m999999999s}",
			},
		},
		{
			field: "spec.server.auditRetention", message: "not a duration of at most ten years: write it like 8760h, 90m or 30s, up to 87600h",
			accept: []string{"server: {auditRetention: 8760h}", "server: {auditRetention: 0s}"}, reject: []string{"server: {auditRetention: 1 year}", "server: {auditRetention: 87601h}"},
		},
		{field: "spec.server.rateLimits.register", message: "should be greater than or equal to 0", accept: []string{"server: {rateLimits: {register: 0}}"}, reject: []string{"server: {rateLimits: {register: -1}}"}},
		{field: "spec.server.rateLimits.general", message: "should be greater than or equal to 0", accept: []string{"server: {rateLimits: {general: 0}}"}, reject: []string{"server: {rateLimits: {general: -1}}"}},
		{field: "spec.server.rateLimits.upload", message: "should be greater than or equal to 0", accept: []string{"server: {rateLimits: {upload: 0}}"}, reject: []string{"server: {rateLimits: {upload: -1}}"}},
		{field: "spec.server.rateLimits.loginAccount", message: "should be greater than or equal to 0", accept: []string{"server: {rateLimits: {loginAccount: 0}}"}, reject: []string{"server: {rateLimits: {loginAccount: -1}}"}},
		{field: "spec.server.rateLimits.loginAddress", message: "should be greater than or equal to 0", accept: []string{"server: {rateLimits: {loginAddress: 0}}"}, reject: []string{"server: {rateLimits: {loginAddress: -1}}"}},
		{
			field: "spec.database", message: "database: set exactly one of secretRef (your own PostgreSQL) and managed (the operator runs one)",
			accept: []string{"{}", "database: {managed: {}}", "database: {secretRef: {name: a, key: b}}"}, reject: []string{"database: {}", "database: {managed: {}, secretRef: {name: a, key: b}}"},
		},
		{
			field: "spec.database", message: "database.directSecretRef: only with secretRef",
			accept: []string{"database: {secretRef: {name: a, key: b}, directSecretRef: {name: a, key: c}}"}, reject: []string{"database: {managed: {}, directSecretRef: {name: a, key: c}}"},
		},
		{
			field: "spec.cache", message: "cache: set exactly one of secretRef (your own Redis) and managed (the operator runs one)",
			accept: []string{"cache: {managed: {}}", "cache: {secretRef: {name: a, key: b}}"}, reject: []string{"cache: {}", "cache: {managed: {}, secretRef: {name: a, key: b}}"},
		},
		{
			field: "spec.storage", message: "storage: set exactly one of bucket (your own) and managed (the operator runs an S3 server)",
			accept: []string{"storage: {managed: {}}", "storage: {bucket: assets}"}, reject: []string{"storage: {}", "storage: {managed: {}, bucket: assets}"},
		},
		{
			field: "spec.storage", message: "storage: prefix, region, endpoint, caSecretRef and credentialsSecretRef go with bucket, not with managed",
			accept: []string{"storage: {bucket: assets, region: x}"}, reject: []string{"storage: {managed: {}, prefix: x/}", "storage: {managed: {}, region: x}", "storage: {managed: {}, endpoint: 'http://x'}", "storage: {managed: {}, credentialsSecretRef: {name: x}}", "storage: {managed: {}, caSecretRef: {name: x, key: ca}}"},
		},
		{
			field: "spec.migrations.timeout", message: "migrations.timeout: write a duration from 10s to 168h (a week), like 10m",
			accept: []string{"migrations: {timeout: 10s}", "migrations: {timeout: 168h}"}, reject: []string{"migrations: {timeout: 9s}", "migrations: {timeout: soon}", "migrations: {timeout: 168h1s}", "migrations: {timeout: 99999999h}"},
		},
		{field: "spec.migrations.backoffLimit", message: "should be greater than or equal to 0", accept: []string{"migrations: {backoffLimit: 0}"}, reject: []string{"migrations: {backoffLimit: -1}"}},
		{field: "spec.migrations.backoffLimit", message: "should be less than or equal to 10", reject: []string{"migrations: {backoffLimit: 11}"}},
		{field: "spec.networking.service.type", message: `supported values: "ClusterIP", "NodePort", "LoadBalancer"`, accept: []string{"networking: {service: {type: NodePort}}"}, reject: []string{"networking: {service: {type: ExternalName}}"}},
		{field: "spec.networking.service.port", message: "should be less than or equal to 65535", accept: []string{"networking: {service: {port: 65535}}"}, reject: []string{"networking: {service: {port: 65536}}"}},
		{field: "spec.networking.service.port", message: "should be greater than or equal to 1", reject: []string{"networking: {service: {port: 0}}"}},
		{
			field: "spec.autoscaling", message: "autoscaling: minReplicas is above maxReplicas; lower one or raise the other",
			accept: []string{"autoscaling: {}", "autoscaling: {minReplicas: 10}", "autoscaling: {minReplicas: 1, maxReplicas: 1}"}, reject: []string{"autoscaling: {minReplicas: 11}", "autoscaling: {maxReplicas: 2}"},
		},
		{field: "spec.autoscaling.minReplicas", message: "should be greater than or equal to 1", reject: []string{"autoscaling: {minReplicas: 0}"}},
		{field: "spec.autoscaling.maxReplicas", message: "should be less than or equal to 1000", accept: []string{"autoscaling: {maxReplicas: 1000}"}, reject: []string{"autoscaling: {maxReplicas: 1001}"}},
		{field: "spec.autoscaling.targetCPUUtilizationPercentage", message: "should be greater than or equal to 1", accept: []string{"autoscaling: {targetCPUUtilizationPercentage: 150}"}, reject: []string{"autoscaling: {targetCPUUtilizationPercentage: 0}"}},
		{
			field: "spec", message: "autoscaling: it measures against the pods' request of cpu; add resources.requests.cpu",
			accept: []string{"{autoscaling: {}, resources: {requests: {cpu: 1}}}", "{autoscaling: {}, resources: {limits: {cpu: 1}}}", "resources: {}"}, reject: []string{"{autoscaling: {}, resources: {}}", "{autoscaling: {}, resources: {requests: {memory: 1Gi}, limits: {memory: 1Gi}}}"},
		},
		{
			field: "spec.disruption.maxUnavailable", message: "disruption.maxUnavailable: write a number from 1, or a percentage like 25%; none at all would block every drain of a node",
			accept: []string{"disruption: {}", "disruption: {maxUnavailable: 2}", "disruption: {maxUnavailable: 25%}", "disruption: {maxUnavailable: 100%}"},
			reject: []string{"disruption: {maxUnavailable: 0}", "disruption: {maxUnavailable: 0%}", "disruption: {maxUnavailable: 101%}", "disruption: {maxUnavailable: one}", "disruption: {maxUnavailable: -1}"},
		},
		{
			field: "spec.serviceAccount", message: "serviceAccount: set name (an account that is there already) or annotations (of the account that the operator makes), not both",
			accept: []string{"serviceAccount: {name: a}", "serviceAccount: {annotations: {example.com/role: x}}", "serviceAccount: {}"}, reject: []string{"serviceAccount: {name: a, annotations: {example.com/role: x}}"},
		},
		{
			field: "spec.serviceAccount.name", message: "not the name of a ServiceAccount: use lower-case letters, digits, '-' and '.', like game-asset-manager",
			accept: []string{"serviceAccount: {name: a.b-1}"}, reject: []string{"serviceAccount: {name: A}", "serviceAccount: {name: a_b}"},
		},
		{
			field: "spec.pod.labels", message: "pod.labels: those under assetplatform.io/ and app.kubernetes.io/ are the operator's own",
			accept: []string{"pod: {labels: {example.com/team: art}}"}, reject: []string{"pod: {labels: {app.kubernetes.io/name: x}}", "pod: {labels: {assetplatform.io/x: z}}"},
		},
		{
			field: "spec.pod.labels", message: "pod.labels: not the key of a label: write it like example.com/team, with letters, digits, '-', '_', '.' and at most one '/'",
			accept: []string{"pod: {labels: {team: '', A_b: C.d-e}}"}, reject: []string{"pod: {labels: {two words: x}}"},
		},
		{
			field: "spec.pod.nodeSelector", message: "pod.nodeSelector: not the key of a label: write it like example.com/team, with letters, digits, '-', '_', '.' and at most one '/'",
			accept: []string{"pod: {nodeSelector: {kubernetes.io/arch: amd64}}"}, reject: []string{"pod: {nodeSelector: {two words: x}}"},
		},
		{
			field: "spec.pod.tolerations", message: "pod.tolerations: operator is Exists or Equal",
			accept: each("pod: {tolerations: [{%s}]}", "key: gpu, operator: Exists", "key: team, value: art", "operator: Exists", "key: gpu, operator: Equal, value: ''"), reject: each("pod: {tolerations: [{%s}]}", "key: gpu, operator: Exsts"),
		},
		{
			field: "spec.pod.tolerations", message: "pod.tolerations: effect is NoSchedule, PreferNoSchedule or NoExecute",
			accept: each("pod: {tolerations: [{key: gpu, operator: Exists, effect: %s}]}", "NoSchedule", "''"), reject: each("pod: {tolerations: [{key: gpu, operator: Exists, effect: %s}]}", "NoScedule"),
		},
		{
			field: "spec.pod.tolerations", message: "pod.tolerations: write key and value of the taint, or the operator Exists and no value",
			accept: each("pod: {tolerations: [{%s}]}", "key: gpu, operator: Exists, value: ''"), reject: each("pod: {tolerations: [{%s}]}", "key: gpu, operator: Exists, value: x", "value: x", "operator: Equal", ""),
		},
		{
			field: "spec.pod.tolerations", message: "pod.tolerations: tolerationSeconds goes with the effect NoExecute alone",
			accept: each("pod: {tolerations: [{key: gpu, operator: Exists, effect: %s, tolerationSeconds: 60}]}", "NoExecute"), reject: each("pod: {tolerations: [{key: gpu, operator: Exists, effect: %s, tolerationSeconds: 60}]}", "NoSchedule", "''"),
		},
		{
			field: "spec.auth.rotation", message: `supported values: "Graceful", "Immediate"`,
			accept: each("auth: {rotation: %s}", "Graceful", "Immediate"), reject: each("auth: {rotation: %s}", "Fast", "''"),
		},
		{
			field: "spec.pod.priorityClassName", message: "not the name of a PriorityClass: kubectl get priorityclass lists those of the cluster",
			accept: []string{"pod: {priorityClassName: high}"}, reject: []string{"pod: {priorityClassName: Very High}"},
		},
		{
			field: "spec.networking.networkPolicy.ingressFrom[0]", message: "not a peer: set ipBlock, or podSelector, namespaceSelector or both",
			accept: []string{
				"networking: {networkPolicy: {ingressFrom: [{namespaceSelector: {}}]}}", "networking: {networkPolicy: {ingressFrom: [{podSelector: {}, namespaceSelector: {matchLabels: {a: b}}}]}}",
				"networking: {networkPolicy: {ingressFrom: [{ipBlock: {cidr: 10.0.0.0/8}}]}}",
			},
			reject: []string{"networking: {networkPolicy: {ingressFrom: [{}]}}", "networking: {networkPolicy: {ingressFrom: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}}"},
		},
		{
			field: "spec.networking.networkPolicy.metricsFrom[0]", message: "not a peer: set ipBlock, or podSelector, namespaceSelector or both",
			accept: []string{"networking: {networkPolicy: {metricsFrom: [{podSelector: {}}]}}"}, reject: []string{"networking: {networkPolicy: {metricsFrom: [{}]}}"},
		},
		{
			field: "spec.networking.networkPolicy.egress[0].to[0]", message: "not a peer: set ipBlock, or podSelector, namespaceSelector or both",
			accept: each("networking: {networkPolicy: {egress: [%s]}}", "{}", "{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 443}, {port: 5353, protocol: UDP}]}"),
			reject: each("networking: {networkPolicy: {egress: [%s]}}", "{to: [{}]}"),
		},
		{
			field: "spec.networking.networkPolicy.egress[0].ports[0].port", message: "should be",
			reject: each("networking: {networkPolicy: {egress: [{ports: [{port: %s}]}]}}", "0", "65536"),
		},
		{
			field: "spec.networking.networkPolicy.egress[0].ports[0].protocol", message: `supported values: "TCP", "UDP", "SCTP"`,
			reject: each("networking: {networkPolicy: {egress: [{ports: [{port: 53, protocol: %s}]}]}}", "udp"),
		},
		{field: "spec.deletionPolicy", message: `supported values: "Retain", "Delete"`, accept: []string{"deletionPolicy: Delete"}, reject: []string{"deletionPolicy: Keep"}},
	}
	for _, part := range []string{"database", "cache", "storage"} {
		managed := func(spec string) string { return part + ": {managed: {" + spec + "}}" }
		list = append(list,
			admission{field: "spec." + part + ".managed.storage", message: "storage: must be at least 1Mi", accept: []string{managed("storage: 1Mi")}, reject: []string{managed("storage: 1023Ki"), managed("storage: 0")}},
			admission{
				field: "spec." + part + ".managed.storageClassName", message: "not the name of a StorageClass: kubectl get storageclass lists those of the cluster",
				accept: []string{managed("storageClassName: fast.example-1"), managed(`storageClassName: ""`)}, reject: []string{managed("storageClassName: Fast"), managed("storageClassName: a/b"), managed("storageClassName: -a")},
			},
			// A class that does not exist must be correctable, and a size that nobody gives.
			admission{old: managed("storageClassName: fats, storage: 100Ti"), accept: []string{managed("storageClassName: fast, storage: 100Gi"), managed("storage: 1Gi")}},
		)
	}
	return slices.Concat(list, imageAdmissions(), secretAdmissions(), extraEnvAdmissions(), routeAdmissions(), annotationAdmissions(), bucketAdmissions(), backupAdmissions())
}

// imageAdmissions are the rules of each field that names an image.
func imageAdmissions() []admission {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	var list []admission
	for field, spec := range map[string]string{
		"spec.image": "image: %s", "spec.database.managed.image": "database: {managed: {image: %s}}", "spec.cache.managed.image": "cache: {managed: {image: %s}}", "spec.storage.managed.image": "storage: {managed: {image: %s}}",
		"spec.backup.image": "backup: {destinations: [{name: a, bucket: backups}], image: %s}", "spec.backup.drill.image": "backup: {destinations: [{name: a, bucket: backups}], drill: {image: %s}}",
	} {
		list = append(list,
			admission{
				field: field, message: "not an image reference: write it like ghcr.io/assetplatform/assetplatform:v0.1.0, the repository in lower case",
				accept: each(spec, "assets", "ghcr.io/x/y:v1", "ghcr.io/x/y:V1.0_rc-1@"+digest, "localhost:5000/x@"+digest, "Registry.example.com:5000/a/b--c/d__e.f", `"[fd00::1]:5000/assets"`),
				reject: each(spec, "two words", `" assets"`, "-x", "https://ghcr.io/x", `"ghcr.io/x?y"`, "ghcr.io/Studio/assets:v1", "Studio/assets", "ghcr.io/x/y:v1:v2", `"ghcr.io/x/y:"`, "ghcr.io//y", "x@sha256:0123456789abcdef", "x:"+strings.Repeat("v", 129)),
			},
			admission{field: field, message: "should be at least 1 chars", reject: each(spec, `""`)},
			admission{field: field, message: "may not be more than 512", reject: each(spec, strings.Repeat("x", 513))},
		)
	}
	return list
}

// secretAdmissions are the rules of each field that names a Secret or a key in one.
func secretAdmissions() []admission {
	const (
		name = "not the name of a Secret: use lower-case letters, digits, '-' and '.', like backend-secrets"
		key  = "not a key of a Secret: use letters, digits, '-', '_' and '.', like database-url"
	)
	var list []admission
	add := func(field, message, spec string, accept, reject []string) {
		list = append(list,
			admission{field: field, message: message, accept: each(spec, accept...), reject: each(spec, reject...)},
			admission{field: field, message: "should be at least 1 chars", reject: each(spec, `""`)},
			admission{field: field, message: "may not be more than 253", accept: each(spec, strings.Repeat("x", 253)), reject: each(spec, strings.Repeat("x", 254))},
		)
	}
	addName := func(field, spec string) {
		add(field, name, spec, []string{"backend-secrets", "1.a-b.c"}, []string{"Backend", "backend_secrets", "-a", "a.", "a..b", "a/b", "a b"})
	}
	addKey := func(field, spec string) {
		add(field, key, spec, []string{"DATABASE_URL", ".env", "-a", "a..b"}, []string{"a b", "a/b", "..", ".", "..a", "ü"})
	}
	for field, spec := range map[string]string{
		"spec.database.secretRef": "database: {secretRef: {%s}}", "spec.database.directSecretRef": "database: {secretRef: {name: a, key: b}, directSecretRef: {%s}}", "spec.cache.secretRef": "cache: {secretRef: {%s}}",
		"spec.storage.caSecretRef": "storage: {bucket: assets, caSecretRef: {%s}}", "spec.server.extraEnv[0].valueFrom.secretKeyRef": "server: {extraEnv: [{name: X, valueFrom: {secretKeyRef: {%s}}}]}",
		"spec.backup.destinations[0].caSecretRef": "backup: {destinations: [{name: a, bucket: backups, caSecretRef: {%s}}]}", "spec.backup.encryption.signingKeySecretRef": "backup: {destinations: [{name: a, bucket: backups}], encryption: {signingKeySecretRef: {%s}}}",
		"spec.backup.drill.databaseSecretRef": "backup: {destinations: [{name: a, bucket: backups}], drill: {databaseSecretRef: {%s}}}", "spec.backup.drill.identitySecretRef": "backup: {destinations: [{name: a, bucket: backups}], drill: {identitySecretRef: {%s}}}",
		"spec.restoreFrom.bucket.caSecretRef": "restoreFrom: {bucket: {bucket: backups, caSecretRef: {%s}}}", "spec.restoreFrom.identitySecretRef": "restoreFrom: {bucket: {bucket: backups}, identitySecretRef: {%s}}", "spec.restoreFrom.verifyKeySecretRef": "restoreFrom: {bucket: {bucket: backups}, verifyKeySecretRef: {%s}}",
		"spec.auth.jwtSecretRef": "auth: {jwtSecretRef: {%s}}", "spec.auth.verifySecretRefs[0]": "auth: {verifySecretRefs: [{%s}]}",
	} {
		addName(field+".name", fmt.Sprintf(spec, "key: a, name: %s"))
		addKey(field+".key", fmt.Sprintf(spec, "name: a, key: %s"))
	}
	addName("spec.server.envFrom[0].secretRef.name", "server: {envFrom: [{secretRef: {name: %s}}]}")
	addName("spec.networking.tls.secretName", "networking: {host: a.example.com, tls: {secretName: %s}}")
	for field, spec := range map[string]string{
		"spec.storage.credentialsSecretRef": "storage: {bucket: assets, credentialsSecretRef: {%s}}", "spec.backup.destinations[0].credentialsSecretRef": "backup: {destinations: [{name: a, bucket: backups, credentialsSecretRef: {%s}}]}",
		"spec.backup.destinations[0].removerCredentialsSecretRef": "backup: {destinations: [{name: a, bucket: backups, removerCredentialsSecretRef: {%s}}]}", "spec.restoreFrom.bucket.credentialsSecretRef": "restoreFrom: {bucket: {bucket: backups, credentialsSecretRef: {%s}}}",
	} {
		addName(field+".name", fmt.Sprintf(spec, "name: %s"))
		addKey(field+".accessKey", fmt.Sprintf(spec, "name: a, accessKey: %s"))
		addKey(field+".secretKey", fmt.Sprintf(spec, "name: a, secretKey: %s"))
	}
	return list
}

// extraEnvAdmissions are the rules of the user's own variables. Those of the contract are refused.
func extraEnvAdmissions() []admission {
	const field, spec = "spec.server.extraEnv[0]", "server: {extraEnv: [{name: %s, value: x}]}"
	var contract []string
	for _, v := range config.ServerVars {
		contract = append(contract, v.Name)
	}
	return []admission{
		{
			field: field, message: "extraEnv: set exactly one of value and valueFrom",
			accept: []string{"server: {extraEnv: [{name: X, value: ''}]}", "server: {extraEnv: [{name: X, valueFrom: {secretKeyRef: {name: a, key: b}}}]}"},
			reject: []string{"server: {extraEnv: [{name: X}]}", "server: {extraEnv: [{name: X, value: x, valueFrom: {secretKeyRef: {name: a, key: b}}}]}"},
		},
		{
			field: field + ".name", message: "extraEnv: not the name of a variable: use letters, digits and '_', like HTTPS_PROXY",
			accept: each(spec, "HTTPS_PROXY", "_x1"), reject: each(spec, "1X", "A-B", "a.b", "'a b'"),
		},
		{
			field: field + ".name", message: "extraEnv: the operator sets this variable itself: use the field that it comes from",
			accept: each(spec, "MY_PORT", "DATABASE_URL_2"), reject: each(spec, contract...),
		},
	}
}

// routeAdmissions are the rules of how people reach the API.
func routeAdmissions() []admission {
	const (
		gateway = "gateway: {parentRefs: [{name: public}]}"
		issuer  = "tls: {issuerRef: {name: letsencrypt}}"
		in      = "networking: {host: a.example.com, %s}"
		ref     = "networking: {host: a.example.com, gateway: {parentRefs: [{%s}]}}"
	)
	list := []admission{
		{
			field: "spec.networking", message: "networking.host: ingress, gateway and tls need the name that people type, like api.yourdomain.com",
			accept: each(in, "ingress: {}", gateway, issuer), reject: each("networking: {%s}", "ingress: {}", gateway, issuer),
		},
		{
			field: "spec.networking", message: "networking.tls: the certificate of a Gateway belongs to its listener; leave tls out",
			accept: each(in, gateway+", ingress: {}, "+issuer), reject: each(in, gateway+", "+issuer),
		},
		{
			field: "spec.networking", message: "networking.service.port: is for plain HTTP; with tls the Service serves TLS on 443 beside it",
			accept: append(each(in, "service: {port: 443}, ingress: {}, "+issuer, "service: {port: 8443}, "+issuer), "networking: {service: {port: 443}}"),
			reject: each(in, "service: {port: 443}, "+issuer),
		},
		{
			field: "spec.networking.host", message: "networking.host: not the name of a host: write it in lower case without scheme, port and path, like api.yourdomain.com",
			accept: each("networking: {host: %s}", "a.example.com", "localhost", "1.a-b.c"),
			reject: each("networking: {host: '%s'}", "https://a.example.com", "a.example.com:443", "a.example.com/x", "A.example.com", "*.example.com", "a_b.example.com", "10.0.0.1", "a..b", "a.example.com."),
		},
		{
			field: "spec.networking.tls", message: "networking.tls: set exactly one of issuerRef (cert-manager issues the certificate) and secretName (it is in a Secret of yours)",
			accept: each(in, issuer, "tls: {secretName: own}"), reject: each(in, "tls: {}", "tls: {secretName: own, issuerRef: {name: a}}"),
		},
		{field: "spec.networking.gateway.parentRefs", message: "should have at least 1 items", reject: each(in, "gateway: {parentRefs: []}")},
	}
	for field, of := range map[string]struct{ spec, message string }{
		"ingress.className":                 {fmt.Sprintf(in, "ingress: {className: %s}"), "not the name of an IngressClass: kubectl get ingressclass lists those of the cluster"},
		"gateway.parentRefs[0].name":        {fmt.Sprintf(ref, "name: %s"), "not the name of a Gateway: kubectl get gateway -A lists those of the cluster"},
		"gateway.parentRefs[0].sectionName": {fmt.Sprintf(ref, "name: a, sectionName: %s"), "not the name of a listener: see spec.listeners of the Gateway"},
		"tls.issuerRef.name":                {fmt.Sprintf(in, "tls: {issuerRef: {name: %s}}"), "not the name of an issuer: kubectl get clusterissuer,issuer lists those of cert-manager"},
	} {
		list = append(list, admission{field: "spec.networking." + field, message: of.message, accept: each(of.spec, "nginx", "a.b-c"), reject: each(of.spec, "Nginx", "a/b", "-a", "a b")})
	}
	return append(list, admission{
		field: "spec.networking.gateway.parentRefs[0].namespace", message: "not the name of a namespace: use lower-case letters, digits and '-'",
		accept: each(ref, "name: a, namespace: gateways"), reject: each(ref, "name: a, namespace: a.b", "name: a, namespace: Gateways"),
	})
}

// annotationAdmissions are the rules of each field that has annotations or labels of an object.
func annotationAdmissions() []admission {
	var list []admission
	for field, spec := range map[string]string{
		"spec.networking.service.annotations": "networking: {service: {annotations: {%s}}}", "spec.networking.ingress.annotations": "networking: {host: a.example.com, ingress: {annotations: {%s}}}", "spec.serviceAccount.annotations": "serviceAccount: {annotations: {%s}}", "spec.pod.annotations": "pod: {annotations: {%s}}",
	} {
		list = append(list,
			admission{field: field, message: "annotations under assetplatform.io/ are the operator's own", accept: each(spec, "example.com/x: theirs"), reject: each(spec, "assetplatform.io/adopt: 'true'")},
			admission{
				field: field, message: "not a key for an annotation: write it like example.com/owner, with letters, digits, '-', '_', '.' and at most one '/'",
				accept: each(spec, "owner_1.x: '', Example.com/Load-Balancer: any text"),
				reject: each(spec, "two words: x", "a/b/c: x", "example.com/: x", "under_score/x: x", strings.Repeat("x", 64)+": x"),
			},
		)
	}
	for field, spec := range map[string]string{"spec.pod.labels[k]": "pod: {labels: {k: %s}}", "spec.pod.nodeSelector[k]": "pod: {nodeSelector: {k: %s}}", "spec.monitoring.labels[k]": "monitoring: {labels: {k: %s}}"} {
		list = append(list,
			admission{
				field: field, message: "not the value of a label: use letters, digits, '-', '_' and '.', a letter or digit at both ends",
				accept: each(spec, "A_b.c-1", "''"), reject: each(spec, "two words", "-x", "x_"),
			},
			admission{field: strings.Replace(field, "[k]", ".k", 1), message: "may not be more than 63", reject: each(spec, strings.Repeat("x", 64))},
		)
	}
	const labels = "monitoring: {labels: {%s}}"
	list = append(list,
		admission{field: "spec.monitoring.labels", message: "monitoring.labels: those under assetplatform.io/ and app.kubernetes.io/ are the operator's own", accept: each(labels, "release: prometheus"), reject: each(labels, "app.kubernetes.io/name: x", "assetplatform.io/x: x")},
		admission{field: "spec.monitoring.labels", message: "monitoring.labels: not the key of a label: write it like example.com/team", accept: each(labels, "example.com/team: art"), reject: each(labels, "two words: x", "a/b/c: x")},
		admission{
			field: "spec.monitoring.scrapeInterval", message: "monitoring.scrapeInterval: write a duration from 1s to 1h, like 15s",
			accept: each("monitoring: {scrapeInterval: %s}", "15s", "1m30s", "1h"), reject: each("monitoring: {scrapeInterval: %s}", "0s", "61m", "soon", "500ms"),
		},
	)
	for from, spec := range map[string]string{
		"ingressFrom[0]": "ingressFrom: [{ipBlock: {%s}}]", "metricsFrom[0]": "metricsFrom: [{ipBlock: {%s}}]", "egress[0].to[0]": "egress: [{to: [{ipBlock: {%s}}]}]",
	} {
		field, spec := "spec.networking.networkPolicy."+from+".ipBlock", "networking: {networkPolicy: {"+spec+"}}"
		const message = "not a CIDR: write an address and a prefix length, like 10.0.0.0/8"
		list = append(list,
			admission{field: field + ".cidr", message: message, accept: each(spec, "cidr: 10.0.0.0/8", "cidr: 'fd00::/8'"), reject: each(spec, "cidr: 10.0.0.1")},
			admission{field: field + ".except[0]", message: message, accept: each(spec, "cidr: 10.0.0.0/8, except: [10.1.0.0/16]"), reject: each(spec, "cidr: 10.0.0.0/8, except: [none]")},
			admission{
				field: field, message: "except: write ranges that are smaller than cidr and lie in it, like 10.1.0.0/16 in 10.0.0.0/8", accept: each(spec, "cidr: 'fd00::/8', except: ['fd00:1::/32']"),
				reject: each(spec, "cidr: 10.0.0.0/8, except: [192.168.0.0/16]", "cidr: 10.0.0.0/8, except: [10.0.0.0/8]", "cidr: 10.0.0.0/8, except: [10.1.0.0/16, 0.0.0.0/0]", "cidr: 10.0.0.0/8, except: ['fd00:1::/32']"),
			},
		)
	}
	return list
}

// each puts each value into a spec.
func each(spec string, values ...string) []string {
	var specs []string
	for _, value := range values {
		specs = append(specs, fmt.Sprintf(spec, value))
	}
	return specs
}
