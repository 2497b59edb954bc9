// netpol enforces networking.k8s.io/v1 NetworkPolicy on one node with a bridge CNI: a test helper, IPv4 only.
//
// Why not an existing one: kube-network-policies and kindnet hand packets to userspace with the nftables "queue"
// expression, which this kernel lacks (NFT_QUEUE is off); kube-router is not served.
//
// How: informers over pods, namespaces and policies; every change renders ONE nftables table as text and replaces it
// in one transaction (`nft -f -`), so there is no moment with half a policy. Filtering is on the first packet of a
// connection, after the Service DNAT (hook forward, and hook input for pod -> node), so the rules see pod addresses.
// Node -> own pods (kubelet probes, the apiserver's proxy) goes through hook output and is never filtered, as the API demands.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"sort"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	nw "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

type pod struct {
	*v1.Pod
	ip string
}

func sel(s *metav1.LabelSelector) labels.Selector {
	r, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return r
}

// portExprs gives one nft match per port; named ports are looked up in the containers of p (nil: nothing matches them).
func portExprs(ports []nw.NetworkPolicyPort, p *pod) (out []string) {
	if len(ports) == 0 {
		return []string{""}
	}
	for _, x := range ports {
		proto := "tcp"
		if x.Protocol != nil {
			proto = strings.ToLower(string(*x.Protocol))
		}
		switch {
		case x.Port == nil:
			out = append(out, "meta l4proto "+proto+" ")
		case x.Port.Type == intstr.Int && x.EndPort != nil:
			out = append(out, fmt.Sprintf("%s dport %d-%d ", proto, x.Port.IntVal, *x.EndPort))
		case x.Port.Type == intstr.Int:
			out = append(out, fmt.Sprintf("%s dport %d ", proto, x.Port.IntVal))
		case p != nil:
			for _, c := range append(append([]v1.Container{}, p.Spec.InitContainers...), p.Spec.Containers...) {
				for _, cp := range c.Ports {
					if cp.Name == x.Port.StrVal && strings.EqualFold(string(cp.Protocol), proto) {
						out = append(out, fmt.Sprintf("%s dport %d ", proto, cp.ContainerPort))
					}
				}
			}
		}
	}
	return
}

func named(ports []nw.NetworkPolicyPort) bool {
	for _, x := range ports {
		if x.Port != nil && x.Port.Type == intstr.String {
			return true
		}
	}
	return false
}

// rule renders the allow lines of one ingress or egress rule of a policy in namespace ns for the pod self.
func rule(w *strings.Builder, egress bool, ns string, self *pod, peers []nw.NetworkPolicyPeer, ports []nw.NetworkPolicyPort, pods []*pod, nsl map[string]labels.Set) {
	addr := map[bool]string{false: "ip saddr", true: "ip daddr"}[egress]
	emit := func(match string, p *pod) {
		if !egress {
			p = self // a named port of an ingress rule is a port of the selected pod
		}
		for _, pe := range portExprs(ports, p) {
			fmt.Fprintf(w, "  %s%sreturn\n", match, pe)
		}
	}
	if len(peers) == 0 {
		if egress && named(ports) {
			peers = []nw.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}
		} else {
			emit("", nil)
		}
	}
	for _, pe := range peers {
		if b := pe.IPBlock; b != nil {
			if strings.Contains(b.CIDR, ":") {
				continue
			}
			m := addr + " " + b.CIDR + " "
			if len(b.Except) > 0 {
				m += addr + " != { " + strings.Join(b.Except, ", ") + " } "
			}
			emit(m, nil)
			continue
		}
		var ips []string
		for _, p := range pods {
			if pe.NamespaceSelector == nil && p.Namespace != ns || pe.NamespaceSelector != nil && !sel(pe.NamespaceSelector).Matches(nsl[p.Namespace]) {
				continue
			}
			if pe.PodSelector != nil && !sel(pe.PodSelector).Matches(labels.Set(p.Labels)) {
				continue
			}
			if egress && named(ports) { // the same name may be another number on each peer
				emit(addr+" "+p.ip+" ", p)
			} else {
				ips = append(ips, p.ip)
			}
		}
		if len(ips) > 0 {
			emit(addr+" { "+strings.Join(ips, ", ")+" } ", nil)
		}
	}
}

// render is a pure function of the objects: same objects, same text.
func render(pods []*pod, nsl map[string]labels.Set, pols []*nw.NetworkPolicy, podCIDR string) string {
	var w strings.Builder
	var in, out, known []string
	sort.Slice(pods, func(i, j int) bool { return pods[i].ip < pods[j].ip })
	sort.Slice(pols, func(i, j int) bool { return pols[i].Namespace+"/"+pols[i].Name < pols[j].Namespace+"/"+pols[j].Name })
	w.WriteString("table inet assetplatform-netpol\ndelete table inet assetplatform-netpol\ntable inet assetplatform-netpol {\n")
	for _, p := range pods {
		known = append(known, p.ip)
		var i, o strings.Builder
		isoIn, isoOut := false, false
		for _, np := range pols {
			if np.Namespace != p.Namespace || !sel(&np.Spec.PodSelector).Matches(labels.Set(p.Labels)) {
				continue
			}
			for _, t := range np.Spec.PolicyTypes { // the apiserver has filled in the default
				isoIn, isoOut = isoIn || t == nw.PolicyTypeIngress, isoOut || t == nw.PolicyTypeEgress
				for _, r := range np.Spec.Ingress {
					if t == nw.PolicyTypeIngress {
						rule(&i, false, np.Namespace, p, r.From, r.Ports, pods, nsl)
					}
				}
				for _, r := range np.Spec.Egress {
					if t == nw.PolicyTypeEgress {
						rule(&o, true, np.Namespace, p, r.To, r.Ports, pods, nsl)
					}
				}
			}
		}
		id := strings.ReplaceAll(p.ip, ".", "_")
		if isoIn { // a pod may always reach itself, also through its Service
			fmt.Fprintf(&w, " chain i_%s { # %s/%s\n  ip saddr %s return\n%s  counter drop\n }\n", id, p.Namespace, p.Name, p.ip, i.String())
			in = append(in, p.ip+" : jump i_"+id)
		}
		if isoOut {
			fmt.Fprintf(&w, " chain o_%s { # %s/%s\n  ip daddr %s return\n%s  counter drop\n }\n", id, p.Namespace, p.Name, p.ip, o.String())
			out = append(out, p.ip+" : jump o_"+id)
		}
	}
	vmap := func(addr string, e []string) string {
		if len(e) == 0 {
			return ""
		}
		return "  " + addr + " vmap { " + strings.Join(e, ", ") + " }\n"
	}
	est, strictS, strictD := "  ct state established,related accept\n", "", ""
	if podCIDR != "" && len(pols) > 0 && len(known) > 0 { // a pod that the API does not show yet must not run unprotected
		k := " != { " + strings.Join(known, ", ") + " } counter drop\n"
		strictS, strictD = "  ip saddr "+podCIDR+" ip saddr"+k, "  ip daddr "+podCIDR+" ip daddr"+k
	}
	fmt.Fprintf(&w, " chain forward {\n  type filter hook forward priority -1;\n%s%s%s%s%s }\n", est, strictS, strictD, vmap("ip saddr", out), vmap("ip daddr", in))
	fmt.Fprintf(&w, " chain input {\n  type filter hook input priority -1;\n%s%s%s }\n}\n", est, strictS, vmap("ip saddr", out))
	return w.String()
}

func main() {
	kc := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "")
	podCIDR := flag.String("strict", "", "pod range, e.g. 10.244.0.0/16: while any policy exists, drop what comes from or goes to an address there that no known pod has")
	flag.Parse()
	cfg, err := clientcmd.BuildConfigFromFlags("", *kc)
	if err != nil {
		log.Fatal(err)
	}
	// bridged pod -> pod packets must pass the ip hooks (per network namespace since Linux 5.3)
	if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0); err != nil {
		log.Print(err)
	}
	f := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(cfg), 0)
	pi, ni, li := f.Core().V1().Pods(), f.Core().V1().Namespaces(), f.Networking().V1().NetworkPolicies()
	dirty := make(chan time.Time, 1)
	mark := func() {
		select {
		case dirty <- time.Now():
		default:
		}
	}
	h := cache.ResourceEventHandlerFuncs{AddFunc: func(any) { mark() }, UpdateFunc: func(_, _ any) { mark() }, DeleteFunc: func(any) { mark() }}
	pi.Informer().AddEventHandler(h)
	ni.Informer().AddEventHandler(h)
	li.Informer().AddEventHandler(h)
	f.Start(context.Background().Done())
	f.WaitForCacheSync(context.Background().Done())
	last := ""
	for t := range dirty {
		var pods []*pod
		all, _ := pi.Lister().List(labels.Everything())
		for _, p := range all {
			if !p.Spec.HostNetwork && p.Status.PodIP != "" && !strings.Contains(p.Status.PodIP, ":") && p.Status.Phase != v1.PodSucceeded && p.Status.Phase != v1.PodFailed {
				pods = append(pods, &pod{p, p.Status.PodIP})
			}
		}
		nsl := map[string]labels.Set{}
		nss, _ := ni.Lister().List(labels.Everything())
		for _, n := range nss {
			nsl[n.Name] = n.Labels
		}
		pols, _ := li.Lister().List(labels.Everything())
		text := render(pods, nsl, pols, *podCIDR)
		if text == last {
			continue
		}
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(text)
		if o, err := c.CombinedOutput(); err != nil {
			log.Printf("nft: %v: %s\n%s", err, o, text)
			time.AfterFunc(time.Second, mark)
			continue
		}
		last = text
		log.Printf("applied: %d policies, %d pods, %d ms after the change was seen", len(pols), len(pods), time.Since(t).Milliseconds())
	}
}
