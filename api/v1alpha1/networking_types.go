package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NetworkingSpec says how the API is reached.
// +kubebuilder:validation:XValidation:rule="has(self.host) || !(has(self.ingress) || has(self.gateway) || has(self.tls))",message="networking.host: ingress, gateway and tls need the name that people type, like api.yourdomain.com"
// +kubebuilder:validation:XValidation:rule="!(has(self.tls) && has(self.gateway)) || has(self.ingress)",message="networking.tls: the certificate of a Gateway belongs to its listener; leave tls out"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || has(self.ingress) || !has(self.service) || !has(self.service.port) || self.service.port != 443",message="networking.service.port: is for plain HTTP; with tls the Service serves TLS on 443 beside it"
type NetworkingSpec struct {
	// +optional
	Service ServiceSpec `json:"service,omitzero"`

	// Host is the name under which people reach the API.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue() && !isIP(self)",message="networking.host: not the name of a host: write it in lower case without scheme, port and path, like api.yourdomain.com"
	// +optional
	Host string `json:"host,omitempty"`

	// Ingress makes an Ingress for the host.
	// +optional
	Ingress *IngressSpec `json:"ingress,omitempty"`

	// Gateway makes an HTTPRoute for the host (Gateway API); TLS is the business of the Gateway's listener.
	// +optional
	Gateway *GatewaySpec `json:"gateway,omitempty"`

	// TLS gives the Ingress a certificate or, with neither Ingress nor Gateway, the API itself, which then serves TLS on
	// port 443 of its Service.
	// +kubebuilder:validation:XValidation:rule="has(self.issuerRef) != has(self.secretName)",message="networking.tls: set exactly one of issuerRef (cert-manager issues the certificate) and secretName (it is in a Secret of yours)"
	// +optional
	TLS *TLSSpec `json:"tls,omitempty"`

	// NetworkPolicy says who may reach the platform's pods; they themselves reach what they depend on, and nothing else.
	// +optional
	NetworkPolicy NetworkPolicySpec `json:"networkPolicy,omitzero"`
}

// IngressSpec shapes the Ingress.
type IngressSpec struct {
	// ClassName of the ingress controller. Absent: the cluster's default class.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="not the name of an IngressClass: kubectl get ingressclass lists those of the cluster"
	// +optional
	ClassName string `json:"className,omitempty"`
	// Annotations for the ingress controller; they come before those that the operator adds so that uploads pass
	// (the largest body, how long a request may take).
	// +optional
	Annotations Annotations `json:"annotations,omitempty"`
}

// GatewaySpec shapes the HTTPRoute.
type GatewaySpec struct {
	// ParentRefs are the Gateways that serve the host.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	ParentRefs []GatewayRef `json:"parentRefs"`
}

// GatewayRef names a Gateway, or one listener of it.
type GatewayRef struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="not the name of a Gateway: kubectl get gateway -A lists those of the cluster"
	Name string `json:"name"`
	// Namespace of the Gateway. Absent: the platform's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="not the name of a namespace: use lower-case letters, digits and '-'"
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// SectionName is the name of the listener. Absent: all that admit the host.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="not the name of a listener: see spec.listeners of the Gateway"
	// +optional
	SectionName string `json:"sectionName,omitempty"`
	// Port of the listeners. Absent: any.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`
}

// TLSSpec says where the certificate for the host comes from.
type TLSSpec struct {
	// IssuerRef is the issuer of cert-manager that issues and renews it.
	// +optional
	IssuerRef *IssuerRef `json:"issuerRef,omitempty"`
	// SecretName is a Secret of type kubernetes.io/tls with the certificate, renewed by somebody else.
	// +optional
	SecretName SecretName `json:"secretName,omitempty"`
}

// IssuerRef names an issuer of cert-manager, as its Certificates do.
type IssuerRef struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="not the name of an issuer: kubectl get clusterissuer,issuer lists those of cert-manager"
	Name string `json:"name"`
	// Kind of the issuer.
	// +kubebuilder:default=Issuer
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Kind string `json:"kind,omitempty"`
	// Group of the issuer.
	// +kubebuilder:default=cert-manager.io
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Group string `json:"group,omitempty"`
}

// NetworkPolicySpec shapes the platform's NetworkPolicies.
type NetworkPolicySpec struct {
	// Enabled is false where somebody else writes them.
	// +kubebuilder:default=true
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// IngressFrom are those who may use the API: the pods of the ingress controller, say. Absent: everybody.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	IngressFrom []NetworkPeer `json:"ingressFrom,omitempty"`
	// MetricsFrom are those who may read the metrics: the pods of Prometheus, say. Absent: everybody.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	MetricsFrom []NetworkPeer `json:"metricsFrom,omitempty"`
	// Egress are places that the API and the migration may talk to beside those that the spec tells of: database, cache, bucket, a
	// proxy in the variables, and name servers on port 53, or 5353 in the cluster.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Egress []NetworkEgress `json:"egress,omitempty"`
}

// NetworkEgress is a rule as in Kubernetes' NetworkPolicy.
type NetworkEgress struct {
	// To are the places. Absent: everywhere.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	To []NetworkPeer `json:"to,omitempty"`
	// Ports there, of the pods where they are in the cluster. Absent: all.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Ports []NetworkPort `json:"ports,omitempty"`
}

// NetworkPort is a port of a protocol.
type NetworkPort struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// +kubebuilder:default=TCP
	// +kubebuilder:validation:Enum=TCP;UDP;SCTP
	// +optional
	Protocol corev1.Protocol `json:"protocol,omitempty"`
}

// NetworkPeer is a peer as in Kubernetes' NetworkPolicy.
// +kubebuilder:validation:XValidation:rule="has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",message="not a peer: set ipBlock, or podSelector, namespaceSelector or both"
type NetworkPeer struct {
	// PodSelector selects pods, of the platform's namespace unless namespaceSelector is set.
	// +optional
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// NamespaceSelector selects namespaces; {} selects all.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// IPBlock is a range of addresses outside of the cluster.
	// +optional
	IPBlock *IPBlock `json:"ipBlock,omitempty"`
}

// IPBlock is a range of addresses without some.
// +kubebuilder:validation:XValidation:rule="!has(self.except) || !isCIDR(self.cidr) || self.except.all(e, !isCIDR(e) || cidr(self.cidr).containsCIDR(e) && cidr(e).prefixLength() > cidr(self.cidr).prefixLength())",message="except: write ranges that are smaller than cidr and lie in it, like 10.1.0.0/16 in 10.0.0.0/8"
type IPBlock struct {
	// CIDR is the range.
	CIDR CIDR `json:"cidr"`
	// Except are the ranges in it that are left out.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Except []CIDR `json:"except,omitempty"`
}

// ServiceSpec shapes the API's Service.
type ServiceSpec struct {
	// +kubebuilder:default=ClusterIP
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	// +optional
	Type corev1.ServiceType `json:"type,omitempty"`
	// Port of the Service; pods listen on 3000.
	// +kubebuilder:default=80
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`
	// Annotations of the Service, for the cloud's load balancer.
	// +optional
	Annotations Annotations `json:"annotations,omitempty"`
}
