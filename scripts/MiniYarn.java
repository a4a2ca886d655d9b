import java.io.FileOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.hadoop.yarn.conf.YarnConfiguration;
import org.apache.hadoop.yarn.server.MiniYARNCluster;

/** A YARN of one node in this process; writes what clients need to a folder and runs until it is killed. */
public class MiniYarn {
    public static void main(String[] args) throws Exception {
        Path folder = Files.createDirectories(Path.of(args[0]));
        YarnConfiguration conf = new YarnConfiguration();
        conf.setInt(YarnConfiguration.NM_PMEM_MB, Integer.parseInt(args[1]));
        conf.setInt("yarn.scheduler.maximum-allocation-mb", Integer.parseInt(args[1]));
        conf.setInt("yarn.scheduler.minimum-allocation-mb", 256);
        conf.setInt(YarnConfiguration.NM_VCORES, 4);
        conf.set("yarn.scheduler.capacity.root.queues", "default");
        conf.set("yarn.scheduler.capacity.root.default.capacity", "100");
        conf.set("yarn.scheduler.capacity.maximum-am-resource-percent", "1");
        // Python's workers reserve far more addresses than they use.
        conf.setBoolean(YarnConfiguration.NM_VMEM_CHECK_ENABLED, false);
        conf.set("yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage", "99");
        MiniYARNCluster cluster = new MiniYARNCluster("lakerank", 1, 1, 1);
        cluster.init(conf);
        cluster.start();
        try (FileOutputStream file = new FileOutputStream(folder.resolve("yarn-site.xml").toFile())) {
            cluster.getConfig().writeXml(file);
        }
        System.out.println("up");
        Thread.currentThread().join();
    }
}
