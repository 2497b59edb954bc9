// prometheus-check does with ServiceMonitors and PrometheusRules what the Prometheus operator does with them, by its own
// code: it selects and validates them, and prints the configuration that Prometheus gets. A problem of one is the end.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"

	"github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus-operator/prometheus-operator/pkg/assets"
	"github.com/prometheus-operator/prometheus-operator/pkg/operator"
	"github.com/prometheus-operator/prometheus-operator/pkg/prometheus"
	prometheusclient "github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

// version is that of the Prometheus that Debian has.
const version = "v2.42.0"

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: prometheus-check FILE")
	}
	text, err := check(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	_, _ = os.Stdout.Write(text)
}

func check(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var monitors []*monitoringv1.ServiceMonitor
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, err
		}
		switch kind.Kind {
		case monitoringv1.ServiceMonitorsKind:
			monitor := &monitoringv1.ServiceMonitor{}
			if err := yaml.UnmarshalStrict(document, monitor); err != nil {
				return nil, err
			}
			monitors = append(monitors, monitor)
		case monitoringv1.PrometheusRuleKind:
			rule := &monitoringv1.PrometheusRule{}
			if err := yaml.UnmarshalStrict(document, rule); err != nil {
				return nil, err
			}
			if problems := operator.ValidateRule(rule.Spec); len(problems) > 0 {
				return nil, errors.Join(problems...)
			}
		default:
			return nil, fmt.Errorf("%s holds a %q", file, kind.Kind)
		}
	}
	return configuration(monitors)
}

// configuration is what a Prometheus gets that selects every ServiceMonitor of the namespace.
func configuration(monitors []*monitoringv1.ServiceMonitor) ([]byte, error) {
	p := &monitoringv1.Prometheus{
		TypeMeta:   metav1.TypeMeta{APIVersion: monitoring.GroupName + "/v1", Kind: monitoringv1.PrometheusesKind},
		ObjectMeta: metav1.ObjectMeta{Namespace: monitors[0].Namespace, Name: "p"},
		Spec: monitoringv1.PrometheusSpec{
			CommonPrometheusFields: monitoringv1.CommonPrometheusFields{ServiceMonitorSelector: &metav1.LabelSelector{}, Version: version, ScrapeInterval: "30s"},
			EvaluationInterval:     "30s",
		},
	}
	logger := slog.New(slog.DiscardHandler)
	selector, err := prometheus.NewResourceSelector(logger, p, assets.NewTestStoreBuilder(), nil, operator.NewMetrics(prometheusclient.NewRegistry()), record.NewFakeRecorder(100))
	if err != nil {
		return nil, err
	}
	selected, err := selector.SelectServiceMonitors(context.Background(), func(namespace string, _ labels.Selector, add cache.AppendFunc) error {
		for _, m := range monitors {
			add(m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	valid := selected.ValidResources()
	if len(valid) != len(monitors) {
		return nil, fmt.Errorf("%d of %d ServiceMonitors are valid", len(valid), len(monitors))
	}
	generator, err := prometheus.NewConfigGenerator(logger, p)
	if err != nil {
		return nil, err
	}
	return generator.GenerateServerConfiguration(p, valid, nil, nil, nil, assets.NewTestStoreBuilder(), nil, nil, nil, nil)
}
