// argo-sync does with a file what Argo CD's application controller does with an Application, by Argo CD's own engine: it
// compares the objects with those of the cluster, by each of its three ways to compare, and syncs what differs. It prints
// what became of each object, one a line: "in sync", or what the sync said. With -server-side it syncs as the option
// ServerSideApply=true does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/cache"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/engine"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/common"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const manager = "argocd-controller"

func main() {
	serverSide := flag.Bool("server-side", false, "sync by server-side apply")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: argo-sync [-server-side] FILE, with KUBECONFIG set")
	}
	if err := run(flag.Arg(0), *serverSide); err != nil {
		log.Fatal(err)
	}
}

func run(file string, serverSide bool) error {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	cfg.QPS = -1
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	wanted, err := kube.SplitYAML(text)
	if err != nil {
		return err
	}
	keys := map[kube.ResourceKey]bool{}
	for _, o := range wanted {
		keys[kube.GetResourceKey(o)] = true
	}
	live := cache.NewClusterCache(cfg, cache.SetNamespaces([]string{wanted[0].GetNamespace()}), cache.SetLogr(logr.Discard()), cache.SetPopulateResourceInfoHandler(func(o *unstructured.Unstructured, _ bool) (any, bool) {
		return nil, keys[kube.GetResourceKey(o)]
	}))
	e := engine.NewEngine(cfg, live, engine.WithLogr(logr.Discard()))
	end, err := e.Run()
	if err != nil {
		return err
	}
	defer end()
	ours := func(r *cache.Resource) bool { return keys[r.ResourceKey()] }
	differs, err := compare(cfg, live, wanted, ours)
	if err != nil {
		return err
	}
	if differs == nil {
		for _, o := range wanted {
			fmt.Printf("%s %s: in sync\n", o.GetKind(), o.GetName())
		}
		return nil
	}
	results, err := e.Sync(ctx, wanted, ours, "revision", wanted[0].GetNamespace(), sync.WithServerSideApply(serverSide), sync.WithServerSideApplyManager(manager), sync.WithLogr(logr.Discard()))
	if err != nil {
		return err
	}
	var failed []error
	for _, r := range results {
		fmt.Printf("%s %s: %s (%s)\n", r.ResourceKey.Kind, r.ResourceKey.Name, r.Message, strings.Join(differs, ", "))
		if r.Status != common.ResultCodeSynced {
			failed = append(failed, fmt.Errorf("%s: %s", r.ResourceKey, r.Message))
		}
	}
	return errors.Join(failed...)
}

// compare says by which of Argo CD's comparisons the objects differ from the cluster's.
func compare(cfg *rest.Config, live cache.ClusterCache, wanted []*unstructured.Unstructured, ours func(*cache.Resource) bool) ([]string, error) {
	managed, err := live.GetManagedLiveObjs(wanted, ours)
	if err != nil {
		return nil, err
	}
	pairs := sync.Reconcile(wanted, managed, wanted[0].GetNamespace(), live)
	operations, cleanup, err := (&kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}).ManageServerSideDiffDryRuns(cfg)
	if err != nil {
		return nil, err
	}
	defer cleanup()
	var differs []string
	for name, options := range map[string][]diff.Option{
		"three-way":        nil,
		"structured merge": {diff.WithStructuredMergeDiff(true)},
		"server-side":      {diff.WithServerSideDiff(true), diff.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(operations))},
	} {
		result, err := diff.DiffArray(pairs.Target, pairs.Live, append(options, diff.WithGVKParser(live.GetGVKParser()), diff.WithManager(manager), diff.WithLogr(logr.Discard()))...)
		if err != nil {
			return nil, fmt.Errorf("%s diff: %w", name, err)
		}
		if result.Modified {
			differs = append(differs, name)
		}
	}
	return differs, nil
}
