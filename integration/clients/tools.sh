# Sourced by the families that use Kafka's own tools: installs them, and runs them by class.
# Environment: BOOTSTRAP, CLIENTS_HOME. Variable: here.
"$here/install" java
libs=$CLIENTS_HOME/java
if [ ! -e "$libs/.complete" ]; then
  mvn -q -B -f "$here/jvm/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs"
  touch "$libs/.complete"
fi
tool() { # tool CLASS ARGS...
  local class=$1
  shift
  case $class in kafka.*) ;; *) class=org.apache.kafka.tools.$class ;; esac
  java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$libs/*" "$class" "$@"
}
admin() { # admin CLASS ARGS...: a tool that takes --bootstrap-server
  local class=$1
  shift
  tool "$class" --bootstrap-server "$BOOTSTRAP" "$@"
}
