package manifests

import (
	"cmp"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// operatorName is the label by which the operator's own pods are told, in whatever namespace they run.
const operatorName = "assetplatform-operator"

// Addresses that no pod of ours has business with: link-local ones, where clouds keep their metadata and with it the
// node's credentials (169.254.169.254, and fd00:ec2::254 on AWS).
var (
	everywhere4 = networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"169.254.0.0/16"}}
	everywhere6 = networkingv1.IPBlock{CIDR: "::/0", Except: []string{"fe80::/10", "fd00:ec2::/32"}}
)

// podIdentity is where the agent of EKS Pod Identity hands out credentials
// (docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html).
var podIdentity = []networkingv1.NetworkPolicyPeer{
	{IPBlock: &networkingv1.IPBlock{CIDR: "169.254.170.23/32"}}, {IPBlock: &networkingv1.IPBlock{CIDR: "fd00:ec2::23/128"}},
}

// clusterDNSPort is on which the name servers of OpenShift's pods listen, whose Service has port 53
// (docs.openshift.com/container-platform/latest/networking/dns-operator.html): policies see the port of the pod.
const clusterDNSPort = 5353

// NetworkPolicies let through the flows that the platform consists of; all else to and from its pods is denied. None where
// the spec switches them off. They select the platform's own pods and never a whole namespace.
func NetworkPolicies(ap *assetv1.AssetPlatform, f Facts) []client.Object {
	n := ap.Spec.Networking.NetworkPolicy
	if n.Enabled != nil && !*n.Enabled {
		return nil
	}
	database := dependency{component: ComponentPostgres, name: PostgresName(ap), managed: ManagedDatabase(ap) != nil, port: postgresPort, urls: []string{f.Credentials.DatabaseURL}, defaultPort: 5432}
	direct := database
	if f.Credentials.DatabaseDirectURL != "" {
		direct.urls = []string{f.Credentials.DatabaseDirectURL}
	}
	cache := dependency{component: ComponentRedis, name: RedisName(ap), managed: ManagedCache(ap) != nil, port: redisPort, urls: []string{f.Credentials.RedisURL}, defaultPort: 6379}
	bucket := dependency{component: ComponentS3, name: S3Name(ap), managed: ManagedStorage(ap) != nil, port: s3Port, urls: []string{bucketURL(ap)}, defaultPort: 443}
	proxy := dependency{urls: proxyURLs(ap, f.Credentials), defaultPort: 80}
	bucket.identity = !bucket.managed && ap.Spec.Storage.CredentialsSecretRef == nil
	for _, used := range f.InUse {
		database.former = append(database.former, used.DatabaseURL)
		cache.former = append(cache.former, used.RedisURL)
		bucket.former = append(bucket.former, used.S3Endpoint)
		bucket.identity = bucket.identity || used.Identity
	}

	policies := []client.Object{
		networkPolicy(ap, ComponentServer, ServerName(ap), serverIngress(ap), egress(ap, database, cache, bucket, proxy)),
		networkPolicy(ap, ComponentMigrate, childName(ap, "migrate"), nil, egress(ap, direct)),
	}
	server, migrate := podsOf(ap, ComponentServer), podsOf(ap, ComponentMigrate)
	var copying []networkingv1.NetworkPolicyPeer // pods that copy all of database and bucket
	if f.Restore != nil {
		archive := backupBuckets(f.Restore.Bucket)
		policies = append(policies, networkPolicy(ap, ComponentRestore, childName(ap, "restore"), nil, egress(ap, direct, bucket, archive, proxy)))
		copying = append(copying, podsOf(ap, ComponentRestore))
	}
	if ap.Spec.Backup != nil {
		copying = append(copying, podsOf(ap, ComponentBackup))
		var buckets []assetv1.BackupBucket
		for _, d := range ap.Spec.Backup.Destinations {
			buckets = append(buckets, d.BackupBucket)
		}
		archive := backupBuckets(buckets...)
		policies = append(policies,
			networkPolicy(ap, ComponentBackup, childName(ap, "backup"), nil, egress(ap, direct, bucket, archive, proxy)),
			networkPolicy(ap, ComponentScrub, childName(ap, "scrub"), nil, egress(ap, archive, proxy)),
		)
		if ap.Spec.Backup.Drill != nil {
			trial := dependency{urls: []string{f.Backup.DrillDatabaseURL}, defaultPort: 5432}
			policies = append(policies, networkPolicy(ap, ComponentDrill, childName(ap, "drill"), nil, egress(ap, archive, trial, proxy)))
		}
	}
	for _, part := range []struct {
		dependency
		from []networkingv1.NetworkPolicyPeer
	}{
		{database, append([]networkingv1.NetworkPolicyPeer{server, migrate}, copying...)},
		{cache, []networkingv1.NetworkPolicyPeer{server}},
		{bucket, append([]networkingv1.NetworkPolicyPeer{server}, copying...)},
	} {
		if part.managed {
			in := []networkingv1.NetworkPolicyIngressRule{{From: part.from, Ports: tcp(part.port)}}
			policies = append(policies, networkPolicy(ap, part.component, part.name, in, nil))
		}
	}
	return policies
}

// backupBuckets are where backups are kept.
func backupBuckets(buckets ...assetv1.BackupBucket) dependency {
	d := dependency{defaultPort: 443}
	for _, b := range buckets {
		d.urls = append(d.urls, cmp.Or(b.Endpoint, awsEndpoint))
		d.identity = d.identity || b.CredentialsSecretRef == nil
	}
	return d
}

func networkPolicy(ap *assetv1.AssetPlatform, c Component, name string, in []networkingv1.NetworkPolicyIngressRule, out []networkingv1.NetworkPolicyEgressRule) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta:   typeMeta(networkingv1.SchemeGroupVersion, "NetworkPolicy"),
		ObjectMeta: meta(ap, c, name),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: Selector(ap, c)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress:     in,
			Egress:      out,
		},
	}
}

// serverIngress lets everybody in, or whom the spec names; the operator reads /api/ready in any case.
func serverIngress(ap *assetv1.AssetPlatform) []networkingv1.NetworkPolicyIngressRule {
	n := ap.Spec.Networking.NetworkPolicy
	api := networkingv1.NetworkPolicyIngressRule{Ports: tcp(config.ServerPort)}
	if ServesTLS(ap) {
		api.Ports = append(api.Ports, tcp(config.TLSPort)...)
	}
	if len(n.IngressFrom) > 0 {
		operator := networkingv1.NetworkPolicyPeer{
			NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{LabelName: operatorName}},
		}
		api.From = append(peers(n.IngressFrom), operator)
	}
	return []networkingv1.NetworkPolicyIngressRule{api, {Ports: tcp(config.MetricsPort), From: peers(n.MetricsFrom)}}
}

func peers(named []assetv1.NetworkPeer) []networkingv1.NetworkPolicyPeer {
	var list []networkingv1.NetworkPolicyPeer
	for _, peer := range named {
		p := networkingv1.NetworkPolicyPeer{PodSelector: peer.PodSelector, NamespaceSelector: peer.NamespaceSelector}
		if b := peer.IPBlock; b != nil {
			p.IPBlock = &networkingv1.IPBlock{CIDR: b.CIDR, Except: b.Except}
		}
		list = append(list, p)
	}
	return list
}

// dependency is a server that pods of the platform talk to.
type dependency struct {
	component   Component // empty: never one of the platform's parts
	name        string    // of a managed one's Service
	managed     bool
	port        int32    // of a managed one's container
	urls        []string // of one that is not managed; a host without a port means defaultPort
	former      []string // URLs that running pods still use, of before the spec was changed
	identity    bool     // pods are who their cloud says they are, and ask it for credentials
	defaultPort int32
}

// Upstreams are where a server pod finds what it depends on.
type Upstreams struct {
	DatabaseURL, RedisURL, S3Endpoint string
	Identity                          bool // it has no credentials of its own for the bucket
}

// UpstreamsOf reads them from what a pod starts from.
func UpstreamsOf(settings *corev1.ConfigMap, secret *corev1.Secret) Upstreams {
	return Upstreams{
		DatabaseURL: string(secret.Data[config.DatabaseURL.Name]), RedisURL: string(secret.Data[config.RedisURL.Name]),
		S3Endpoint: cmp.Or(settings.Data[config.S3Endpoint.Name], awsEndpoint), Identity: len(secret.Data[config.S3AccessKey.Name]) == 0,
	}
}

// outside are the rules for servers that are not the platform's.
func (d dependency) outside(ap *assetv1.AssetPlatform) (rules []networkingv1.NetworkPolicyEgressRule) {
	urls := d.former
	if !d.managed {
		urls = slices.Concat(d.urls, d.former)
	}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Host == serviceHost(ap, d.name, d.port) {
			continue // credentials that are no URLs were refused already; our own part has a rule
		}
		rules = append(rules, outside(ap, u, d.defaultPort)...)
	}
	return rules
}

// egress lets pods ask for names, and talk to their dependencies and where else the spec lets them.
func egress(ap *assetv1.AssetPlatform, dependencies ...dependency) []networkingv1.NetworkPolicyEgressRule {
	rules := []networkingv1.NetworkPolicyEgressRule{
		{Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, 53), port(corev1.ProtocolTCP, 53)}},
		{
			To:    []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}},
			Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, clusterDNSPort), port(corev1.ProtocolTCP, clusterDNSPort)},
		},
	}
	for _, more := range ap.Spec.Networking.NetworkPolicy.Egress {
		rule := networkingv1.NetworkPolicyEgressRule{To: peers(more.To)}
		for _, p := range more.Ports {
			rule.Ports = append(rule.Ports, port(cmp.Or(p.Protocol, corev1.ProtocolTCP), p.Port))
		}
		rules = append(rules, rule)
	}
	for _, d := range dependencies {
		// Also where the spec wants no such part any more: pods of the time before may still use it.
		if d.component != "" {
			rules = append(rules, networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{podsOf(ap, d.component)}, Ports: tcp(d.port)})
		}
		more := d.outside(ap)
		if d.identity {
			more = append(more, networkingv1.NetworkPolicyEgressRule{To: podIdentity, Ports: tcp(80)})
			more = append(more, networkingv1.NetworkPolicyEgressRule{To: everywhere(), Ports: tcp(443)}) // the token service
		}
		for _, rule := range more {
			if !slices.ContainsFunc(rules, func(r networkingv1.NetworkPolicyEgressRule) bool { return reflect.DeepEqual(r, rule) }) {
				rules = append(rules, rule)
			}
		}
	}
	return rules
}

// outside are the rules for a server that is not the platform's. Policies know no names, so an address that is written
// out is allowed alone, and for a name every address but those that are nobody's. Policies also see the port of the pod
// and not that of its Service, so what may be a Service is allowed all ports of its namespace.
func outside(ap *assetv1.AssetPlatform, u *url.URL, defaultPort int32) []networkingv1.NetworkPolicyEgressRule {
	number := defaultPort
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil && n > 0 {
		number = int32(n)
	}
	host := u.Hostname()
	if address, err := netip.ParseAddr(host); err == nil {
		block := &networkingv1.IPBlock{CIDR: netip.PrefixFrom(address, address.BitLen()).String()}
		return []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: block}}, Ports: tcp(number)}}
	}
	rules := []networkingv1.NetworkPolicyEgressRule{{To: everywhere(), Ports: tcp(number)}}
	if namespace := namespaceOf(ap, host); namespace != "" {
		selector := &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
		rules = append(rules, networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: selector}}})
	}
	return rules
}

// namespaceOf is the namespace of the Service that a host may be: service, service.namespace or service.namespace.svc…;
// empty if it is none.
func namespaceOf(ap *assetv1.AssetPlatform, host string) string {
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	switch {
	case len(labels) == 1:
		return ap.Namespace
	case len(labels) == 2, labels[2] == "svc":
		return labels[1]
	}
	return ""
}

// proxyURLs are those of the proxies that the user's variables name.
func proxyURLs(ap *assetv1.AssetPlatform, c Credentials) (urls []string) {
	values := proxyVariables(ap, c)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		if text := values[config.Var{Name: name}]; strings.Contains(text, "://") {
			urls = append(urls, text)
		} else if text != "" {
			urls = append(urls, "http://"+text)
		}
	}
	return urls
}

// proxyVariables are those of the user's variables that name proxies, as HTTP clients read them
// (pkg.go.dev/golang.org/x/net/http/httpproxy).
func proxyVariables(ap *assetv1.AssetPlatform, c Credentials) variables {
	found := variables{}
	note := func(name, value string) {
		if strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			found[config.Var{Name: name}] = value
		}
	}
	for name, value := range c.Extra {
		note(name, value)
	}
	for _, v := range ap.Spec.Server.ExtraEnv {
		if v.Value != nil {
			note(v.Name, *v.Value)
		}
	}
	return found
}

// awsEndpoint is where buckets are that name no endpoint.
const awsEndpoint = "https://s3.amazonaws.com"

func bucketURL(ap *assetv1.AssetPlatform) string {
	if s := ap.Spec.Storage; s != nil && s.Endpoint != "" {
		return s.Endpoint
	}
	return awsEndpoint
}

func everywhere() []networkingv1.NetworkPolicyPeer {
	return []networkingv1.NetworkPolicyPeer{{IPBlock: &everywhere4}, {IPBlock: &everywhere6}}
}

func podsOf(ap *assetv1.AssetPlatform, c Component) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: Selector(ap, c)}}
}

func tcp(number int32) []networkingv1.NetworkPolicyPort {
	return []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, number)}
}

func port(protocol corev1.Protocol, number int32) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: ptr.To(intstr.FromInt32(number))}
}
