package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServerSpec has the API's own settings.
type ServerSpec struct {
	// LogLevel is the least severe level that is logged.
	// +kubebuilder:validation:Enum=debug;info;warn;error
	// +optional
	LogLevel string `json:"logLevel,omitempty"`

	// AllowedOrigins are the browser origins that may call the API; "*" allows every origin.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self == '*' || self.matches('^https?://[^/,\\\\s]+$')",message="not an origin: write scheme and host without a path, like https://yourdomain.com"
	// +listType=set
	// +optional
	AllowedOrigins []string `json:"allowedOrigins,omitempty"`

	// MaxFileSize limits uploads.
	// +optional
	MaxFileSize MaxFileSizeSpec `json:"maxFileSize,omitzero"`

	// TrustedProxies are the CIDRs whose X-Forwarded-For header is believed.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +optional
	TrustedProxies []CIDR `json:"trustedProxies,omitempty"`

	// TrashRetention is how long a deleted asset can be restored before it is purged. Absent: 720h.
	// ---
	// The digits are counted because duration() of more than 292 years is an error that hides the message.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && duration(self) <= duration('87600h')",message="not a duration of at most ten years: write it like 720h, 90m or 30s, up to 87600h"
	// +optional
	TrashRetention *metav1.Duration `json:"trashRetention,omitempty"`

	// AuditRetention is how long the audit keeps an event. Absent: 8760h.
	// ---
	// See trashRetention.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && duration(self) <= duration('87600h')",message="not a duration of at most ten years: write it like 8760h, 90m or 30s, up to 87600h"
	// +optional
	AuditRetention *metav1.Duration `json:"auditRetention,omitempty"`

	// RateLimits by name; 0 switches one off.
	// +optional
	RateLimits RateLimitsSpec `json:"rateLimits,omitzero"`

	// EnvFrom are Secrets whose keys become variables of the API's pods; a change of one rolls them. Later ones come before
	// earlier ones, extraEnv before both, and what the rest of the spec sets before all.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	EnvFrom []EnvFromSource `json:"envFrom,omitempty"`

	// ExtraEnv are further variables of the API's pods, such as HTTPS_PROXY or GOMEMLIMIT. Those that the operator sets itself
	// have fields of their own.
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=name
	// +optional
	ExtraEnv []EnvVar `json:"extraEnv,omitempty"`
}

// EnvFromSource is where variables come from.
type EnvFromSource struct {
	SecretRef SecretRef `json:"secretRef"`
}

// SecretRef names a Secret in the platform's namespace.
type SecretRef struct {
	Name SecretName `json:"name"`
}

// EnvVar is a variable, as in Kubernetes' containers.
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.valueFrom)",message="extraEnv: set exactly one of value and valueFrom"
type EnvVar struct {
	// Name of the variable.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",message="extraEnv: not the name of a variable: use letters, digits and '_', like HTTPS_PROXY"
	// +kubebuilder:validation:XValidation:rule="!(self in ['PORT', 'METRICS_PORT', 'TLS_PORT', 'TLS_CERT_FILE', 'TLS_KEY_FILE', 'LOG_LEVEL', 'DRAIN_DELAY', 'ALLOWED_ORIGINS', 'TRUSTED_PROXIES', 'DATABASE_URL', 'REDIS_URL', 'JWT_SECRET', 'JWT_VERIFY_SECRETS', 'S3_BUCKET_NAME', 'S3_PREFIX', 'S3_REGION', 'S3_ENDPOINT', 'S3_CA', 'S3_ACCESS_KEY', 'S3_SECRET_KEY', 'MAX_FILE_SIZE_IMAGE', 'MAX_FILE_SIZE_AUDIO', 'TRASH_RETENTION', 'AUDIT_RETENTION', 'RATE_LIMIT_LOGIN_ACCOUNT', 'RATE_LIMIT_LOGIN_ADDRESS', 'RATE_LIMIT_REGISTER', 'RATE_LIMIT_GENERAL', 'RATE_LIMIT_UPLOAD'])",message="extraEnv: the operator sets this variable itself: use the field that it comes from"
	Name string `json:"name"`
	// Value of the variable; everybody who may read the platform can read it.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	Value *string `json:"value,omitempty"`
	// ValueFrom is where the value is read from.
	// +optional
	ValueFrom *EnvVarSource `json:"valueFrom,omitempty"`
}

// EnvVarSource is where the value of a variable comes from.
type EnvVarSource struct {
	SecretKeyRef SecretKeyRef `json:"secretKeyRef"`
}

// MaxFileSizeSpec limits uploads, by kind of file.
// ---
// isInteger alone does not do: it is false for 1.5Gi. What exceeds 8E has no int, and the error would hide the message.
type MaxFileSizeSpec struct {
	// Image is the largest image. Absent: 10Mi.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1')) >= 0 && quantity(string(self)).compareTo(quantity('8E')) <= 0 && (quantity(string(self)).isInteger() || quantity(string(self)).asApproximateFloat() <= double(int(quantity(string(self)).asApproximateFloat())))",message="must be a whole number of bytes from 1 to 8E, like 10Mi"
	// +optional
	Image *resource.Quantity `json:"image,omitempty"`
	// Audio is the largest audio file. Absent: 50Mi.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1')) >= 0 && quantity(string(self)).compareTo(quantity('8E')) <= 0 && (quantity(string(self)).isInteger() || quantity(string(self)).asApproximateFloat() <= double(int(quantity(string(self)).asApproximateFloat())))",message="must be a whole number of bytes from 1 to 8E, like 50Mi"
	// +optional
	Audio *resource.Quantity `json:"audio,omitempty"`
}

// RateLimitsSpec has the API's limits; 0 switches one off.
type RateLimitsSpec struct {
	// LoginAccount is the number of failed logins per account and address in 15 minutes. Absent: 5.
	// +kubebuilder:validation:Minimum=0
	// +optional
	LoginAccount *int32 `json:"loginAccount,omitempty"`
	// LoginAddress is the number of failed logins per address in 15 minutes. Absent: 30.
	// +kubebuilder:validation:Minimum=0
	// +optional
	LoginAddress *int32 `json:"loginAddress,omitempty"`
	// Register is the number of new accounts per address in an hour. Absent: 20.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Register *int32 `json:"register,omitempty"`
	// General is the number of requests per user in a minute, or per address where nobody is logged in; downloads, thumbnails and the
	// parts of resumable uploads do not count. Absent: 600.
	// +kubebuilder:validation:Minimum=0
	// +optional
	General *int32 `json:"general,omitempty"`
	// Upload is the number of uploads per user in an hour. Absent: 1000.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Upload *int32 `json:"upload,omitempty"`
}
