package manifests

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

const (
	// httpPort, metricsPort and httpsPort name the server's container ports.
	httpPort    = "http"
	metricsPort = "metrics"
	httpsPort   = "https"

	// ServerTerminationGrace covers the drain delay (5 s) and the drain itself (45 s).
	ServerTerminationGrace = time.Minute

	// startupPeriod and startupFailures give a server 60 s to answer, in place of the guide's
	// blind liveness delay of 30 s.
	startupPeriod, startupFailures = 2, 30
)

// Serving is what the API runs, and with which settings; nil while nothing may.
func Serving(ap *assetv1.AssetPlatform, f Facts) *assetv1.MigratedStatus {
	if f.ServingImage == "" {
		return f.Held
	}
	return &assetv1.MigratedStatus{Image: f.ServingImage, Database: f.DatabaseID(), ConfigMap: ServerConfigMap(ap).Name, Secret: ServerSecret(ap, f).Name}
}

// ServerDeployment runs the API; nil while nothing may.
func ServerDeployment(ap *assetv1.AssetPlatform, f Facts) *appsv1.Deployment {
	serving := Serving(ap, f)
	if serving == nil {
		return nil
	}
	container := corev1.Container{
		Name:  string(ComponentServer),
		Image: serving.Image,
		Args:  []string{config.CommandServer},
		Ports: []corev1.ContainerPort{
			{Name: httpPort, ContainerPort: config.ServerPort, Protocol: corev1.ProtocolTCP},
			{Name: metricsPort, ContainerPort: config.MetricsPort, Protocol: corev1.ProtocolTCP},
		},
		EnvFrom:        environment(serving.ConfigMap, serving.Secret),
		Resources:      ServerResources(ap),
		StartupProbe:   httpProbe(config.PathHealth, httpPort, startupPeriod, startupFailures),
		LivenessProbe:  httpProbe(config.PathHealth, httpPort, 10, 3),
		ReadinessProbe: httpProbe(config.PathReady, httpPort, 5, 3),
	}
	pod := podTemplate(ap, ComponentServer, container)
	addKeyPair(ap, &pod.Spec)
	pod.Spec.ServiceAccountName = ServiceAccountName(ap)
	pod.Spec.Affinity = ap.Spec.Pod.Affinity
	pod.Spec.TopologySpreadConstraints = spread(ap, corev1.LabelHostname, corev1.LabelTopologyZone)
	pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(ServerTerminationGrace.Seconds()))
	return &appsv1.Deployment{
		TypeMeta:   typeMeta(appsv1.SchemeGroupVersion, "Deployment"),
		ObjectMeta: meta(ap, ComponentServer, ServerName(ap)),
		Spec: appsv1.DeploymentSpec{
			Replicas: serverReplicas(ap, f),
			Selector: &metav1.LabelSelector{MatchLabels: Selector(ap, ComponentServer)},
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0)),
				},
			},
			RevisionHistoryLimit:    ptr.To[int32](5),
			ProgressDeadlineSeconds: ptr.To[int32](600),
			Template:                pod,
		},
	}
}

// spread asks the scheduler to spread the API over places that differ in these labels of their nodes, as far as it
// can. The pods of another revision do not count: after a rollout the new ones are spread by themselves.
func spread(ap *assetv1.AssetPlatform, labels ...string) []corev1.TopologySpreadConstraint {
	var constraints []corev1.TopologySpreadConstraint
	for _, label := range labels {
		constraints = append(constraints, corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: label, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector:  &metav1.LabelSelector{MatchLabels: Selector(ap, ComponentServer)},
			MatchLabelKeys: []string{appsv1.DefaultDeploymentUniqueLabelKey},
		})
	}
	return constraints
}

// ServerResources are the spec's, or the studio guide's.
func ServerResources(ap *assetv1.AssetPlatform) corev1.ResourceRequirements {
	if ap.Spec.Resources != nil {
		return *ap.Spec.Resources
	}
	return resources("500m", "512Mi", "1", "1Gi")
}

// ServiceAccountName is the account that API pods run as.
func ServiceAccountName(ap *assetv1.AssetPlatform) string {
	if name := ap.Spec.ServiceAccount.Name; name != "" {
		return name
	}
	return ServerName(ap)
}

// ServerServiceAccount is what cloud identities bind to; it has no rights in the cluster. Nil where
// the platform brings its own.
func ServerServiceAccount(ap *assetv1.AssetPlatform) *corev1.ServiceAccount {
	if ap.Spec.ServiceAccount.Name != "" {
		return nil
	}
	account := &corev1.ServiceAccount{
		TypeMeta:                     typeMeta(corev1.SchemeGroupVersion, "ServiceAccount"),
		ObjectMeta:                   meta(ap, ComponentServer, ServerName(ap)),
		AutomountServiceAccountToken: ptr.To(false),
	}
	if len(ap.Spec.ServiceAccount.Annotations) > 0 {
		account.Annotations = ap.Spec.ServiceAccount.Annotations
	}
	return account
}

// Service is where the API answers.
func Service(ap *assetv1.AssetPlatform, f Facts) *corev1.Service {
	s := ap.Spec.Networking.Service
	service := service(ap, ComponentServer, ServiceName(ap), servicePorts(ap, f)...)
	if s.Type != "" {
		service.Spec.Type = s.Type
	}
	if len(s.Annotations) > 0 {
		service.Annotations = s.Annotations
	}
	return service
}

// servicePorts are the ports on which the API answers. Where it ends TLS itself, plain HTTP stays inside of the cluster, once
// no pod serves any more that has nothing else.
func servicePorts(ap *assetv1.AssetPlatform, f Facts) []corev1.ServicePort {
	var ports []corev1.ServicePort
	if t := ap.Spec.Networking.Service.Type; !ServesTLS(ap) || f.PlainPods || t == "" || t == corev1.ServiceTypeClusterIP {
		ports = append(ports, corev1.ServicePort{Name: httpPort, Port: ServicePort(ap), TargetPort: intstr.FromString(httpPort), Protocol: corev1.ProtocolTCP})
	}
	if ServesTLS(ap) {
		ports = append(ports, corev1.ServicePort{Name: httpsPort, Port: 443, TargetPort: intstr.FromString(httpsPort), Protocol: corev1.ProtocolTCP})
	}
	return ports
}

// EndsTLS says whether a pod of the API ends TLS itself.
func EndsTLS(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == httpsPort })
	})
}

// ServicePort is the port of the API's Service for plain HTTP.
func ServicePort(ap *assetv1.AssetPlatform) int32 {
	if p := ap.Spec.Networking.Service.Port; p != 0 {
		return p
	}
	return 80
}

// service is a ClusterIP Service for the pods of a component.
func service(ap *assetv1.AssetPlatform, c Component, name string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "Service"),
		ObjectMeta: meta(ap, c, name),
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: Selector(ap, c), Ports: ports},
	}
}
