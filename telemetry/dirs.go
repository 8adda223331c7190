package telemetry

import "github.com/prometheus/client_golang/prometheus"

var (
	dirOnline = gauge("varve_storage_dir_online", "1 while the log directory works, 0 when it has failed or is missing.", "dir")
	dirLogs   = gauge("varve_storage_dir_log_bytes", "Bytes of segments in the log directory.", "dir")
	dirTotal  = gauge("varve_storage_dir_volume_bytes", "Size of the volume that the log directory is on.", "dir")
	dirFree   = gauge("varve_storage_dir_volume_free_bytes", "What is free for the broker on the volume that the log directory is on.", "dir")
)

// dirCollector collects the metrics of the log directories.
type dirCollector struct{ o Options }

func (dirCollector) families() []family {
	return []family{dirOnline, dirLogs, dirTotal, dirFree}
}

func (d dirCollector) collect(ch chan<- prometheus.Metric) {
	for _, u := range d.o.Replicas.DirUsage() {
		dirOnline.send(ch, truth(u.Err == nil), u.Path)
		if u.Err != nil {
			continue
		}
		var bytes int64
		for _, l := range u.Logs {
			bytes += l.Size()
		}
		dirLogs.send(ch, float64(bytes), u.Path)
		if u.TotalBytes >= 0 {
			dirTotal.send(ch, float64(u.TotalBytes), u.Path)
			dirFree.send(ch, float64(u.UsableBytes), u.Path)
		}
	}
}
